//! Which scenario shows what.
