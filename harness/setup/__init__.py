"""Setup before a first test: ``harness init`` writes the settings, ``harness doctor`` checks machine and target."""
