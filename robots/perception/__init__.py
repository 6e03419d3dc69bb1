"""From a calibrated camera's pictures to `ObjectState`: markers on boxes. Frames are those of `robots.calibration`."""
