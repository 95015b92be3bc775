"""What the notebooks show: one file per notebook, and what several of them share.

A figure takes numbers that the notebook computed and comes back finished, closed in pyplot so that a notebook shows it
once. Nothing here draws a random number. A title that states a result is the notebook's to give, because it is true of
that notebook's numbers; a title that says what is drawn, or counts it, is made here. So is the alternative text, which
every figure ends with (`Figure.describe`): it says in words what the title cannot, with numbers in two digits.

`style` is how all of them look, `plans` what notebooks 01 and 02 both draw. `diagrams`, `images`, `live` and `tensors`
are for notebooks 03 to 06.
"""
