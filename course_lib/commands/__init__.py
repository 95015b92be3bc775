"""The commands of ``python -m course_lib``, each file with what belongs together.

A command imports what it needs when it runs: `doctor` has to start where packages are missing.
"""
