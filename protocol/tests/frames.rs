//! Every recorded frame: what it says, how it is written again, what its header means, and every cut of it.

use protocol::code::{request, response};
use protocol::headers::*;
use protocol::{Codec, CustomHeader, FieldError, Fields, Found, Frame, RemotingCommand, frame};
use serde_json::Value;

mod vectors;
use vectors::{hex, load};

const FILES: [&str; 6] = [
    "client-4.9.8-json.json",
    "client-5.5.0-binary.json",
    "mqadmin-5.5.0.json",
    "probe-5.5.0.json",
    "slave-5.5.0.json",
    "register-broker.json",
];

/// A recorded frame with what the recorder understood of it, and the code of the request it belongs to.
struct Recorded {
    from: String,
    bytes: Vec<u8>,
    said: Value,
    request_code: i32,
}

fn recorded() -> Vec<Recorded> {
    let mut all = Vec::new();
    for file in FILES {
        for (at, item) in load(file)["items"].as_array().expect("items").iter().enumerate() {
            for half in ["request", "response"] {
                let Some(text) = item[format!("{half}_hex")].as_str() else { continue };
                let said = item[half].clone();
                let request_code = item["request"]["code"].as_i64().expect("a code") as i32;
                all.push(Recorded {
                    from: format!("{file}[{at}].{half}"),
                    bytes: hex(text),
                    said,
                    request_code,
                });
            }
        }
    }
    assert!(all.len() > 300, "{}", all.len());
    all
}

fn whole(bytes: &[u8]) -> Frame<'_> {
    match frame::find(bytes) {
        Ok(Found::Whole { frame, bytes_len }) if bytes_len == bytes.len() => frame,
        other => panic!("{other:?}"),
    }
}

/// W-1, W-4, W-5. Goal: every official frame reads as what it is. Method: compare with the recorder's own reading.
#[test]
fn recorded_frames_say_what_was_recorded() {
    for Recorded { from, bytes, said, .. } in recorded() {
        let frame = whole(&bytes);
        let header = frame.header().unwrap_or_else(|error| panic!("{from}: {error}"));
        let codec = if said["serialize"] == "JSON" { Codec::Json } else { Codec::Binary };
        assert_eq!(frame.codec, codec, "{from}");
        for (name, number) in [
            ("code", header.code),
            ("flag", header.flag),
            ("opaque", header.opaque),
            ("version", header.version),
        ] {
            assert_eq!(said[name].as_i64(), Some(i64::from(number)), "{from}: {name}");
        }
        let remark = header.remark.map_or(String::new(), |remark| remark.to_cow().into_owned());
        assert_eq!(remark, said["remark"].as_str().unwrap_or_default(), "{from}");
        assert_eq!(said["bodyLength"].as_u64(), Some(frame.body.len() as u64), "{from}");
        if let Some(text) = said["bodyText"].as_str()
            && text.len() == frame.body.len()
        {
            assert_eq!(text.as_bytes(), frame.body, "{from}");
        }
        let mut count = 0;
        for (name, value) in &header.fields {
            let expected = said["extFields"][&*name.to_cow()].as_str();
            assert_eq!(expected, Some(&*value.to_cow()), "{from}: {name}");
            assert_eq!(header.fields.get(&name.to_cow()), Some(value), "{from}: {name}");
            count += 1;
        }
        assert_eq!(count, said["extFields"].as_object().map_or(0, |fields| fields.len()), "{from}");
    }
}

/// W-7. Goal: what we write, we read back; and where Java wrote the frame, ours is the same to the byte.
/// Method: read each frame into the owned form, write it in both forms.
#[test]
fn recorded_frames_are_written_again() {
    let mut exact = 0;
    for Recorded { from, bytes, .. } in recorded() {
        let frame = whole(&bytes);
        let command = RemotingCommand::from_frame(&frame).expect("read before");
        for codec in [Codec::Json, Codec::Binary] {
            let written = command.encode(codec);
            let mut again = RemotingCommand::from_frame(&whole(&written)).expect("our own");
            if codec == Codec::Binary {
                again.remark = again.remark.or_else(|| command.remark.clone().filter(String::is_empty));
                again.code = command.code; // Sixteen bits are too few for codes like 200050.
                let given = |command: &RemotingCommand| {
                    command
                        .ext_fields
                        .iter()
                        .filter(|(_, value)| !value.is_empty())
                        .cloned()
                        .collect::<Vec<_>>()
                };
                assert_eq!(again.ext_fields, given(&command), "{from}"); // There an empty text is a null.
                again.ext_fields.clone_from(&command.ext_fields);
            }
            assert_eq!(again, command, "{from}");
        }
        // The recorder's own requests have the extFields last, and an empty object has no place in the owned form.
        let text = String::from_utf8_lossy(frame.header).into_owned();
        let is_java =
            frame.codec == Codec::Binary || (!text.ends_with("}}") && !text.contains("\"extFields\":{}"));
        if is_java {
            assert_eq!(command.encode(frame.codec), bytes, "{from}");
            exact += 1;
        }
    }
    assert!(exact > 200, "{exact}");
}

/// W-1. Goal: a frame that is not whole is asked for, and one that is takes exactly its bytes.
/// Method: every cut of every frame, and each frame with another behind it.
#[test]
fn cut_anywhere_a_frame_is_needed() {
    for Recorded { from, mut bytes, .. } in recorded() {
        let len = bytes.len();
        // All short cuts; long bodies are cut at fewer places.
        for cut in (0..len).filter(|cut| *cut < 1024 || cut % 101 == 0 || *cut == len - 1) {
            match frame::find(&bytes[..cut]) {
                Ok(Found::Need { bytes_len }) => {
                    assert!(bytes_len > cut, "{from}");
                    assert_eq!(bytes_len, if cut < 4 { 4 } else { len }, "{from}");
                }
                other => panic!("{from} cut at {cut}: {other:?}"),
            }
        }
        bytes.extend_from_slice(&[0xFF; 64]);
        match frame::find(&bytes) {
            Ok(Found::Whole { bytes_len, frame }) => {
                assert_eq!(bytes_len, len, "{from}");
                assert_eq!(8 + frame.header.len() + frame.body.len(), len, "{from}");
            }
            other => panic!("{from}: {other:?}"),
        }
    }
}

/// W-5. Goal: a header that is cut short inside a whole frame is an error or a smaller header, never a panic.
/// Method: every cut of every header, read and walked.
#[test]
fn cut_headers_do_not_panic() {
    for Recorded { bytes, .. } in recorded() {
        let frame = whole(&bytes);
        for cut in 0..frame.header.len() {
            let cut = Frame { header: &frame.header[..cut], ..frame };
            if let Ok(header) = cut.header() {
                assert_eq!(frame.codec, Codec::Binary, "cut JSON has no closing brace");
                for (name, value) in &header.fields {
                    assert!(name.unescaped_len() + value.unescaped_len() <= cut.header.len());
                }
            }
        }
    }
}

/// Reads a header, writes it, and reads that again.
fn round<'a, H: CustomHeader<'a> + PartialEq + std::fmt::Debug>(
    fields: &Fields<'a>,
    from: &str,
) -> Result<(), FieldError> {
    let header = H::read(fields)?;
    let command = RemotingCommand::request(1).with(&header);
    for (name, value) in &command.ext_fields {
        let read = fields.get(name).map(|value| value.to_cow().into_owned());
        // A default that was not said is said when written.
        assert!(read.is_none() || read.as_ref() == Some(value), "{from}: {name} {read:?} {value}");
    }
    Ok(())
}

/// W-8. Goal: the custom header of every code reads what official software sent. Method: by code, for each frame.
#[test]
fn custom_headers_read_what_official_software_sent() {
    let mut read = 0;
    for Recorded { from, bytes, request_code, .. } in recorded() {
        let frame = whole(&bytes);
        let header = frame.header().expect("read before");
        let fields = &header.fields;
        let result = if header.is_response() {
            if header.code != response::SUCCESS && !(10..=12).contains(&header.code) {
                continue;
            }
            match request_code {
                request::SEND_MESSAGE | request::SEND_MESSAGE_V2 | request::SEND_BATCH_MESSAGE => {
                    round::<SendMessageResponseHeader<'_>>(fields, &from)
                }
                request::PULL_MESSAGE => round::<PullMessageResponseHeader>(fields, &from),
                request::QUERY_CONSUMER_OFFSET => round::<QueryConsumerOffsetResponseHeader>(fields, &from),
                request::SEARCH_OFFSET_BY_TIMESTAMP => round::<SearchOffsetResponseHeader>(fields, &from),
                request::GET_MAX_OFFSET => round::<GetMaxOffsetResponseHeader>(fields, &from),
                request::GET_MIN_OFFSET => round::<GetMinOffsetResponseHeader>(fields, &from),
                request::GET_EARLIEST_MSG_STORETIME => {
                    round::<GetEarliestMsgStoretimeResponseHeader>(fields, &from)
                }
                request::QUERY_MESSAGE => round::<QueryMessageResponseHeader>(fields, &from),
                request::REGISTER_BROKER => round::<RegisterBrokerResponseHeader<'_>>(fields, &from),
                request::QUERY_DATA_VERSION => round::<QueryDataVersionResponseHeader>(fields, &from),
                request::GET_KV_CONFIG => round::<GetKVConfigResponseHeader<'_>>(fields, &from),
                request::WIPE_WRITE_PERM_OF_BROKER => {
                    round::<WipeWritePermOfBrokerResponseHeader>(fields, &from)
                }
                request::ADD_WRITE_PERM_OF_BROKER => {
                    round::<AddWritePermOfBrokerResponseHeader>(fields, &from)
                }
                request::GET_BROKER_CONFIG => round::<GetBrokerConfigResponseHeader<'_>>(fields, &from),
                request::GET_ALL_TOPIC_CONFIG => round::<GetAllTopicConfigResponseHeader>(fields, &from),
                request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => {
                    round::<GetAllSubscriptionGroupResponseHeader>(fields, &from)
                }
                _ => continue,
            }
        } else {
            match header.code {
                request::SEND_MESSAGE | request::SEND_REPLY_MESSAGE => {
                    round::<SendMessageRequestHeader<'_>>(fields, &from)
                }
                request::SEND_MESSAGE_V2 | request::SEND_BATCH_MESSAGE | request::SEND_REPLY_MESSAGE_V2 => {
                    round::<SendMessageRequestHeaderV2<'_>>(fields, &from)
                }
                request::PULL_MESSAGE | request::LITE_PULL_MESSAGE => {
                    round::<PullMessageRequestHeader<'_>>(fields, &from)
                }
                request::QUERY_MESSAGE => round::<QueryMessageRequestHeader<'_>>(fields, &from),
                request::VIEW_MESSAGE_BY_ID => round::<ViewMessageRequestHeader<'_>>(fields, &from),
                request::QUERY_CONSUMER_OFFSET => {
                    round::<QueryConsumerOffsetRequestHeader<'_>>(fields, &from)
                }
                request::UPDATE_CONSUMER_OFFSET => {
                    round::<UpdateConsumerOffsetRequestHeader<'_>>(fields, &from)
                }
                request::SEARCH_OFFSET_BY_TIMESTAMP => round::<SearchOffsetRequestHeader<'_>>(fields, &from),
                request::GET_MAX_OFFSET => round::<GetMaxOffsetRequestHeader<'_>>(fields, &from),
                request::GET_MIN_OFFSET => round::<GetMinOffsetRequestHeader<'_>>(fields, &from),
                request::GET_EARLIEST_MSG_STORETIME => {
                    round::<GetEarliestMsgStoretimeRequestHeader<'_>>(fields, &from)
                }
                request::UNREGISTER_CLIENT => round::<UnregisterClientRequestHeader<'_>>(fields, &from),
                request::CONSUMER_SEND_MSG_BACK => {
                    round::<ConsumerSendMsgBackRequestHeader<'_>>(fields, &from)
                }
                request::END_TRANSACTION => round::<EndTransactionRequestHeader<'_>>(fields, &from),
                request::CHECK_TRANSACTION_STATE => {
                    round::<CheckTransactionStateRequestHeader<'_>>(fields, &from)
                }
                request::NOTIFY_CONSUMER_IDS_CHANGED => {
                    round::<NotifyConsumerIdsChangedRequestHeader<'_>>(fields, &from)
                }
                request::GET_CONSUMER_LIST_BY_GROUP => {
                    round::<GetConsumerListByGroupRequestHeader<'_>>(fields, &from)
                }
                request::PUSH_REPLY_MESSAGE_TO_CLIENT => {
                    round::<ReplyMessageRequestHeader<'_>>(fields, &from)
                }
                request::GET_ROUTEINFO_BY_TOPIC => round::<GetRouteInfoRequestHeader<'_>>(fields, &from),
                request::REGISTER_BROKER => round::<RegisterBrokerRequestHeader<'_>>(fields, &from),
                request::UNREGISTER_BROKER => round::<UnRegisterBrokerRequestHeader<'_>>(fields, &from),
                request::QUERY_DATA_VERSION => round::<QueryDataVersionRequestHeader<'_>>(fields, &from),
                request::PUT_KV_CONFIG => round::<PutKVConfigRequestHeader<'_>>(fields, &from),
                request::GET_KV_CONFIG => round::<GetKVConfigRequestHeader<'_>>(fields, &from),
                request::DELETE_KV_CONFIG => round::<DeleteKVConfigRequestHeader<'_>>(fields, &from),
                request::GET_KVLIST_BY_NAMESPACE => {
                    round::<GetKVListByNamespaceRequestHeader<'_>>(fields, &from)
                }
                request::GET_TOPICS_BY_CLUSTER => round::<GetTopicsByClusterRequestHeader<'_>>(fields, &from),
                request::GET_BROKER_MEMBER_GROUP => {
                    round::<GetBrokerMemberGroupRequestHeader<'_>>(fields, &from)
                }
                request::UPDATE_AND_CREATE_TOPIC => round::<CreateTopicRequestHeader<'_>>(fields, &from),
                request::DELETE_TOPIC_IN_BROKER => round::<DeleteTopicRequestHeader<'_>>(fields, &from),
                request::DELETE_TOPIC_IN_NAMESRV => {
                    round::<DeleteTopicFromNamesrvRequestHeader<'_>>(fields, &from)
                }
                request::GET_TOPIC_CONFIG => round::<GetTopicConfigRequestHeader<'_>>(fields, &from),
                request::GET_TOPIC_STATS_INFO => round::<GetTopicStatsInfoRequestHeader<'_>>(fields, &from),
                request::GET_CONSUME_STATS => round::<GetConsumeStatsRequestHeader<'_>>(fields, &from),
                request::GET_BROKER_CONSUME_STATS => round::<GetConsumeStatsInBrokerHeader>(fields, &from),
                request::GET_CONSUMER_CONNECTION_LIST => {
                    round::<GetConsumerConnectionListRequestHeader<'_>>(fields, &from)
                }
                request::GET_PRODUCER_CONNECTION_LIST => {
                    round::<GetProducerConnectionListRequestHeader<'_>>(fields, &from)
                }
                request::GET_CONSUMER_RUNNING_INFO => {
                    round::<GetConsumerRunningInfoRequestHeader<'_>>(fields, &from)
                }
                request::DELETE_SUBSCRIPTIONGROUP => {
                    round::<DeleteSubscriptionGroupRequestHeader<'_>>(fields, &from)
                }
                request::VIEW_BROKER_STATS_DATA => {
                    round::<ViewBrokerStatsDataRequestHeader<'_>>(fields, &from)
                }
                request::QUERY_CONSUME_QUEUE => round::<QueryConsumeQueueRequestHeader<'_>>(fields, &from),
                request::QUERY_CONSUME_TIME_SPAN => {
                    round::<QueryConsumeTimeSpanRequestHeader<'_>>(fields, &from)
                }
                request::INVOKE_BROKER_TO_RESET_OFFSET | request::RESET_CONSUMER_CLIENT_OFFSET => {
                    round::<ResetOffsetRequestHeader<'_>>(fields, &from)
                }
                request::CONSUME_MESSAGE_DIRECTLY => {
                    round::<ConsumeMessageDirectlyResultRequestHeader<'_>>(fields, &from)
                }
                request::CLONE_GROUP_OFFSET => round::<CloneGroupOffsetRequestHeader<'_>>(fields, &from),
                request::QUERY_CORRECTION_OFFSET => round::<QueryCorrectionOffsetHeader<'_>>(fields, &from),
                request::POP_MESSAGE => round::<PopMessageRequestHeader<'_>>(fields, &from),
                request::ACK_MESSAGE => round::<AckMessageRequestHeader<'_>>(fields, &from),
                _ => continue,
            }
        };
        read += 1;
        // Only the probes leave fields out, to see what happens.
        if let Err(error) = result {
            println!("{from}: {error}");
            assert!(from.starts_with("probe") || from.starts_with("slave"), "{from}: {error}");
        }
    }
    assert!(read > 200, "{read}");
}
