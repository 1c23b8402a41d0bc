"""Teaching a module on synthetic anomalies: steps, loop, checkpoint, selection; knows no method."""
