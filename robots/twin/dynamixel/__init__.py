"""Dynamixel servos of the X series and their protocol 2.0, as Koch's arms and the OMX have them."""
