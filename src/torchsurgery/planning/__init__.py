"""From edits to changes: what follows from each, on a draft of the module tree. Nothing here touches a model.

scene       what one edit sees: the draft, who lies where, the nearest tensor, who shares a Parameter
guards      what can't be done to a layer, refused before anything is built
carrying    what comes along besides tensors: hooks, custom attributes, mode, dtype, device
means       how a layer is put in place: its object becomes the new one, or every slot gets it
replacing   Replace and Remove → changes
surrounding Insert and Wrap → changes
"""
