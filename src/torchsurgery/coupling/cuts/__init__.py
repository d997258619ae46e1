"""What becomes of a model when some of its channels go, or come several times.

cut         which entries each tensor keeps, and which integers follow: plain data, by names
alignment   what a narrower model makes of its shuffles · foreseeing  what it can't make of them, told by arithmetic
copies      entries that come several times · tokens  further entries of axes that count tokens
ties        which layers a cut takes along
"""
