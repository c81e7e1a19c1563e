"""The conformance suite: fixtures run scenarios, tests apply rules to their Exchanges."""
