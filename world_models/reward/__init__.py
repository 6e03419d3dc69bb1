"""Rewards from goals: exact margins turned into progress, success and shaping."""
