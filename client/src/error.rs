//! Everything a call of this library can fail with.
//!
//! The texts follow those that users of the official clients search for. `code` gives the number behind them: a
//! broker's response code, or one of the client's own (10001 and up), which never travel.

use std::time::Duration;

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// What was asked for breaks a rule of names, sizes or properties; nothing was sent.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// `start` was called in a state that allows none.
    #[error("The {service} service state not OK, maybe started once, {state}")]
    AlreadyStarted { service: Service, state: State },
    /// A call came before `start` or after `shutdown`.
    #[error("The {service} service state not OK, {state}")]
    NotRunning { service: Service, state: State },
    /// The shared instance behind this client id already has a member of this group.
    #[error("The {service} group[{group}] has been created before, specify another name please.")]
    GroupTaken { service: Service, group: String },
    #[error("No name server address, please set it.")]
    NoNameServer,
    /// `reason` is empty when the name server knows no such topic.
    #[error("No route info of this topic: {topic}{reason}")]
    NoRoute { topic: String, reason: String },
    #[error("The broker[{broker}] not exist")]
    NoBroker { broker: String },
    #[error("connect to {addr} failed: {reason}")]
    Connect { addr: String, reason: String },
    #[error("the connection to {addr} closed before the answer came: {reason}")]
    Closed { addr: String, reason: String },
    #[error("wait response from {addr} timeout, {}(ms)", .after.as_millis())]
    Timeout { addr: String, after: Duration },
    /// The time given for the whole call ran out before an attempt could be made.
    #[error("{what} call timeout")]
    OutOfTime { what: &'static str },
    /// The other side answered, and the answer is no.
    #[error("CODE: {code}  DESC: {}", .remark.as_deref().unwrap_or(""))]
    Refused { code: i32, remark: Option<String> },
    /// The other side answered with something that is not of the protocol.
    #[error("the answer of {addr} makes no sense: {reason}")]
    BadAnswer { addr: String, reason: String },
    #[error("Send [{times}] times, still failed, cost [{}]ms, Topic: {topic}, BrokersSent: {brokers:?}: {last}", .cost.as_millis())]
    SendFailed { times: u32, cost: Duration, topic: String, brokers: Vec<String>, last: Box<ClientError> },
    /// The answer of a `request` did not come within its time.
    #[error("send request message to <{topic}> OK, but wait reply message timeout, {} ms.", .after.as_millis())]
    NoReply { topic: String, after: Duration },
    /// More is asked for than the other side takes: nothing was sent. Wait for results before sending more, or send slower.
    #[error(
        "sending too fast: {bytes} bytes {what}, and {setting} ({max}) is the most: wait for results before sending more, or raise it"
    )]
    TooFast { bytes: usize, what: String, max: usize, setting: &'static str },
    /// A route names more brokers than this client talks to at once: nothing was sent.
    #[error(
        "no connection to {addr} is made, as there are connections_max ({max}) already: raise it if there are so many brokers"
    )]
    TooManyConnections { addr: String, max: usize },
    /// The client was shut down while the call was under way.
    #[error("the client was shut down")]
    ShutDown,
    #[error("{what}: {reason}")]
    Io { what: String, reason: String },
}

impl ClientError {
    /// The response code of the broker or name server, or the client's own code of this kind of failure.
    pub fn code(&self) -> Option<i32> {
        match self {
            ClientError::Invalid(invalid) => invalid.code(),
            ClientError::Refused { code, .. } => Some(*code),
            ClientError::Connect { .. }
            | ClientError::Closed { .. }
            | ClientError::TooManyConnections { .. } => Some(CONNECT_BROKER),
            ClientError::Timeout { .. } | ClientError::OutOfTime { .. } => Some(ACCESS_BROKER_TIMEOUT),
            ClientError::NoBroker { .. } => Some(BROKER_NOT_EXIST),
            ClientError::NoNameServer => Some(NO_NAME_SERVER),
            ClientError::NoRoute { .. } => Some(NOT_FOUND_TOPIC),
            ClientError::NoReply { .. } => Some(REQUEST_TIMEOUT),
            ClientError::SendFailed { last, .. } => last.code(),
            _ => None,
        }
    }
}

/// A name, size or property that is refused before anything is sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error("the specified group is blank")]
    GroupBlank,
    #[error("the specified group is longer than group max length {max}.")]
    GroupLong { max: usize },
    #[error("the specified group[{group}] contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$")]
    GroupCharacters { group: String },
    #[error("{role} can not equal {group}, please specify another one.")]
    GroupReserved { role: &'static str, group: String },
    #[error("The specified topic is blank")]
    TopicBlank,
    #[error("The specified topic is longer than topic max length {max}.")]
    TopicLong { max: usize },
    #[error("The specified topic[{topic}] contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$")]
    TopicCharacters { topic: String },
    #[error("Sending message to topic[{topic}] is forbidden.")]
    TopicForbidden { topic: String },
    #[error("the message body is null")]
    BodyMissing,
    #[error("the message body length is zero")]
    BodyEmpty,
    #[error("the message body size over max value, MAX: {max}")]
    BodyBig { max: usize },
    #[error("the properties take {bytes} bytes, and 32767 is the most")]
    PropertiesBig { bytes: usize },
    #[error("The Property<{name}> is used by system, input another please")]
    PropertyReserved { name: String },
    #[error("The name or value of property can not be null or blank string!")]
    PropertyBlank,
    #[error("the property {name} holds one of the separators 0x01 and 0x02")]
    PropertySeparator { name: String },
    #[error("a batch has at least one message")]
    BatchEmpty,
    #[error("TimeDelayLevel is not supported for batching")]
    BatchDelay,
    #[error("Retry Group is not supported for batching")]
    BatchRetry,
    #[error("The topic of the messages in one batch should be the same")]
    BatchTopics,
    #[error("The waitStoreMsgOK of the messages in one batch should be the same")]
    BatchWaits,
    #[error("the subscription to {topic} is not understood: {expression}")]
    Subscription { topic: String, expression: String },
    #[error("message's topic not equal mq's topic")]
    OtherTopic,
    #[error("{what}")]
    Setting { what: String },
}

impl Invalid {
    fn code(&self) -> Option<i32> {
        use protocol::code::response;
        match self {
            Invalid::TopicForbidden { .. } => Some(response::NO_PERMISSION),
            Invalid::BodyMissing
            | Invalid::BodyEmpty
            | Invalid::BodyBig { .. }
            | Invalid::PropertiesBig { .. } => Some(response::MESSAGE_ILLEGAL),
            _ => None,
        }
    }
}

/// Which of the services of this library an error speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    Producer,
    PushConsumer,
    PullConsumer,
    Admin,
}

impl std::fmt::Display for Service {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Service::Producer => "producer",
            Service::PushConsumer | Service::PullConsumer => "consumer",
            Service::Admin => "admin",
        })
    }
}

/// The life of a service, in the words of the official clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    CreateJust,
    Running,
    ShutdownAlready,
    StartFailed,
}

impl std::fmt::Display for State {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            State::CreateJust => "CREATE_JUST",
            State::Running => "RUNNING",
            State::ShutdownAlready => "SHUTDOWN_ALREADY",
            State::StartFailed => "START_FAILED",
        })
    }
}

/// The client's own codes (ClientErrorCode); none of them is ever on the wire.
pub const CONNECT_BROKER: i32 = 10001;
pub const ACCESS_BROKER_TIMEOUT: i32 = 10002;
pub const BROKER_NOT_EXIST: i32 = 10003;
pub const NO_NAME_SERVER: i32 = 10004;
pub const NOT_FOUND_TOPIC: i32 = 10005;
pub const REQUEST_TIMEOUT: i32 = 10006;
pub const CREATE_REPLY_MESSAGE: i32 = 10007;
