"""Options and pools as users state them, checked."""
