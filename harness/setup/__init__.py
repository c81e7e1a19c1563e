"""What a newcomer needs before a first test: settings found out from a target, machine and target looked over."""
