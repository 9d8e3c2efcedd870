//! Who is at the other end of a connection, as its heartbeat says.

use std::sync::Arc;

use protocol::version::Language;

/// One client. Shared by every group the client is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    pub id: Arc<str>,
    pub language: Language,
    pub version: i32,
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn client(id: &str) -> Arc<Client> {
        Arc::new(Client { id: id.into(), language: Language::Java, version: 409 })
    }
}
