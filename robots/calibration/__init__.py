"""Where cameras are and what they do to light: boards, intrinsics, hand-eye calibration and joint zeros, from pictures.

Poses are `[*B 4 4]` matrices named `a_in_b`: they take a point's coordinates in a's frame to its coordinates in b's.
Frames: `base` is the world's, at the arm's foot, x forward, z up; `gripper` has the gripper body's axes and its origin
at the tool centre point; `camera` is OpenCV's, x right, y down, z along the optical axis; `board` has its origin in the
printed board's upper left corner, x right, y down, z into the paper. Pixels are OpenCV's: (0, 0) is the middle of the
upper left pixel.
"""
