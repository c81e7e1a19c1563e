"""The conformance suite: fixtures are scenarios, tests are judgements."""
