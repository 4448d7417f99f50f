"""What a network computes.

Here: the frozen integers, their files, the kernels' tables, and the models that define every result.
"""
