"""What a traced model answers.

groups    `Coupling`: which axes of which layers change together, and who is to blame where they can't
families  classes that play the same role, and can stand for each other
bundles   families that must lose the same number of channels
lists     what axes are of, those of the same classes once
paths     why two axes are one, and why one is frozen
"""
