"""The five games of MinAtar (Young and Tian 2019) as compiled worlds, one file for each.

They follow the package minatar 1.0.15 step for step, and were written from how its games behave.
"""
