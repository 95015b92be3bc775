"""How the course's website comes to be: pages for Sphinx, made from what the repository has, and two extensions.

:mod:`.staging` puts all pages into one folder: those of `site/`, and those that :mod:`.notebooks`, :mod:`.zoo`,
:mod:`.readme` and :mod:`.picture` make. :mod:`.formulas` and :mod:`.citations` are extensions of Sphinx, and
:mod:`.font` is what Sphinx does not do: a font for the formulas.
"""
