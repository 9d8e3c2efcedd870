//! The desks of administrators: mqadmin, the dashboard, replicas that copy tables.

pub mod rates;
