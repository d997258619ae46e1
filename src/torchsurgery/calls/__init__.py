"""Functions that forwards call, `F.relu(x)`, as places where a layer can stand.

sources     a Python function as the syntax tree that it was written as, and a new function from a changed tree
finding     the calls in the forward of a class, and in the methods that it calls
arguments   what a call's arguments are on one module, as far as that can be told without running it
rewriting   a class whose forward calls layers where it called functions; it can be copied and pickled
reading     what a forward reads from its layers besides calling them
places      the layers that calls would become, laid into a draft of the model
"""
