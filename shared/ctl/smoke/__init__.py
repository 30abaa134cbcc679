"""`plystractl smoke`: asks running services everything that has to work after an upgrade, and says of each answer whether it does.

It promises: every step is taken, whatever became of the others; nothing stored is changed. Its questions bring their facts
themselves (context mode), under ids that begin with `smoke`, so they can be asked on any installation. What they are answered is
recorded like any decision, since an answer that isn't recorded would prove nothing.
Open `steps.py` first.
"""
