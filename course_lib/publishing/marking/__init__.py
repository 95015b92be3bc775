"""What becomes of a class's notebooks: found, run within limits, and shown in a table and on a page.

:mod:`.exercises` knows the exercises of the course, :mod:`.submissions` finds what a class handed in, :mod:`.steps`
says which cells of a notebook to run, :mod:`.kernel` runs them within limits, :mod:`.judging` puts these together,
and :mod:`.table` and :mod:`.page` show what came of it.
"""
