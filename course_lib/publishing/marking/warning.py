"""What to know before running other people's notebooks; imports nothing, because the command line's help shows it."""

from __future__ import annotations

__all__ = ["WARNING"]

# With the folders' full paths, so that the command can be copied.
WARNING = """\
This runs the code in the notebooks, which other people wrote, as you: it can read and delete your files and use your
network. It runs in copies, with limits, and without your environment's variables. That prevents accidents, not malice.
Of people you do not know, run it in an account made for it and thrown away, on a machine without a network, or in a
container that sees these two folders alone. In the course's folder:

  docker build -f docker/Dockerfile -t course .
  docker run --rm --network none --cpuset-cpus 0-1 --memory 8g --pids-limit 512 --cap-drop ALL \\
    --user "$(id -u):$(id -g)" --env HOME=/tmp --workdir /tmp --volume "{folder}:/in:ro" --volume "{out}:/out" \\
    --entrypoint /opt/course/.venv/bin/python course -m course_lib marks /in --out /out
"""
