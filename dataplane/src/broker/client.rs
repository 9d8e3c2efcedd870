//! Who is at the other end of a connection, as its heartbeat says.

use std::sync::Arc;

use protocol::code::response;
use protocol::version::Language;

use super::Refusal;
use crate::limits::CLIENT_ID_BYTES_MAX;

/// One client. Shared by every group the client is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    pub id: Arc<str>,
    pub language: Language,
    pub version: i32,
}

/// An id that is kept for as long as the client says so has a length.
pub fn check_client_id(id: &str) -> Result<(), Refusal> {
    if id.len() > CLIENT_ID_BYTES_MAX {
        let len = id.len();
        let remark =
            format!("the client id has {len} bytes, more than the {CLIENT_ID_BYTES_MAX} it may have");
        return Err(Refusal::new(response::SYSTEM_ERROR, remark));
    }
    Ok(())
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn client(id: &str) -> Arc<Client> {
        Arc::new(Client { id: id.into(), language: Language::Java, version: 409 })
    }
}
