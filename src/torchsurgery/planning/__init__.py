"""From edits to changes: what follows from each, on a draft of the module tree. Nothing here touches a model.

compiling   one edit → its changes, laid into the draft
scene       what one edit sees: the draft, who lies where, the nearest tensor, who shares a Parameter
guards      what can't be done to a layer, refused before anything is built
carrying    what comes along besides tensors: hooks, custom attributes, mode, dtype, device
means       how a layer is put in place: its object becomes the new one, or every slot gets it
replacing   Replace and Remove → changes · retyping  thousands of one class at once
surrounding Insert and Wrap → changes
exposing    calls of functions → layers
folding     norms into their neighbours · resizing  inputs and outputs · cutting  channels
"""
