"""What follows from the constraints.

joining    what ties alone come to
classes    from ties and products to classes: what lives and dies together · columns  what products are compared by
rows       divisions of axes whose rows may lose entries of their own
adjusting  the integers of the code once some entries are gone
"""
