"""What follows from the constraints.

joining    what ties alone come to
solver     from ties and products to classes · columns  what products are compared by
classes    what lives and dies together
rows       divisions of axes whose rows may lose entries of their own
adjusting  the integers of the code once some entries are gone
"""
