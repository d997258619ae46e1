"""A run of a model without computing: every operation is seen, and its rule writes down what holds.

passes        as the model is, in its other mode, and on the way that values don't take
substituting  stand-ins for the model's tensors, and the model put back as it was
surroundings  what a forward keeps outside of its modules, put back
attributes    integers among the modules' attributes that remember where they come from
operations    the mode that sees each operation, runs it without computing, and asks its rule
functions     the mode that sees what the code calls, and the sizes that it reads and gives
hollow        tensors without values · filled  tensors of one value, of which code may ask
shortcuts     results on the meta device without PyTorch's own shape functions
siblings      parts that were not run because others like them were
protocols     integers that a model tells of itself, though its forward reads none of them
"""
