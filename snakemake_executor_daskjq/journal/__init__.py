"""What a run writes down: its folder, its journal of events, and what rules have used over runs."""
