"""The stages from data set to report, the folder they work in, and the commands.

Here: where software, hardware and verification meet.
"""
