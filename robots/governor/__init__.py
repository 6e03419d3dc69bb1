"""What stands between a policy and an arm: limits on every command, watch over the servos, a process that holds on."""
