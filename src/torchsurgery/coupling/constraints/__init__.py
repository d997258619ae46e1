"""What is said of axes while a model runs: the language between the run and the answer.

atoms     ids of entries, the two kinds of constraint between them, and the ledger of both
integers  integers of the model's code that remember how they were computed, and where they are sizes
record    all that one trace gathers
"""
