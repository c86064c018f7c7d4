//! Tells approvers, and hears from them.
