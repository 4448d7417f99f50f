"""One table of all methods and codings on a data set and network: the papers' training methods, T2FSNN, and others.

``methods`` says what each row is, ``runs`` trains and measures it (or finds it measured), ``table`` and ``figures``
show it. ``python -m firstspike.comparison examples/mnist-cnn.toml`` does all.
"""
