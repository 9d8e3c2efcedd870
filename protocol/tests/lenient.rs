//! What official software forgives, we forgive; what it does not, we refuse.

use protocol::body::*;
use protocol::headers::*;
use protocol::{
    Codec, CustomHeader, FieldError, Frame, Header, Language, RemotingCommand, WireError, fastjson, frame,
};

fn json(header: &str) -> Result<Header<'_>, WireError> {
    Frame { codec: Codec::Json, header: header.as_bytes(), body: b"" }.header()
}

fn framed(total: u32, codec: u8, header_len: u32, rest: usize) -> Vec<u8> {
    let mut bytes = total.to_be_bytes().to_vec();
    bytes.extend_from_slice(&(u32::from(codec) << 24 | header_len).to_be_bytes());
    bytes.extend(std::iter::repeat_n(0, rest));
    bytes
}

/// Goal: what is one whole object is told from what was cut or overwritten, whatever its values are. Method: an object as config files have
/// it, every beginning of it, and things beside it.
#[test]
fn whole_objects_are_told_from_damaged_ones() {
    let whole = "{\n\t\"a\":{0:\"}\\\"]\",'b':[1,99999999999999999999,{}]},\n\tc:maybe\n}\n";
    assert!(fastjson::is_object(whole.as_bytes()) && fastjson::is_object(b" {} "));
    let object = whole.trim_end();
    assert!((0..object.len()).all(|len| !fastjson::is_object(&object.as_bytes()[..len])));
    for other in ["[]", "1", "{}{}", "{} x", "null", "\"{}\"", "\0\0", ""] {
        assert!(!fastjson::is_object(other.as_bytes()), "{other}");
    }
}

/// W-2, W-3, W-4. Goal: a frame that can never be good is refused before it is buffered. Method: its first eight bytes.
#[test]
fn hopeless_frames_are_refused_at_once() {
    let max = frame::FRAME_BYTES_MAX as u32 - 4;
    assert_eq!(
        frame::find(&(max + 1).to_be_bytes()),
        Err(WireError::FrameTooBig { total: max as usize + 1 })
    );
    assert_eq!(
        frame::find(&u32::MAX.to_be_bytes()),
        Err(WireError::FrameTooBig { total: u32::MAX as usize })
    );
    assert!(matches!(frame::find(&max.to_be_bytes()), Ok(frame::Found::Need { .. })));
    for total in 0..4 {
        assert_eq!(
            frame::find(&framed(total, 0, 0, 0)),
            Err(WireError::FrameTooSmall { total: total as usize })
        );
    }
    assert_eq!(frame::find(&framed(10, 0, 7, 0)), Err(WireError::HeaderTooLong { header: 7, total: 10 }));
    assert_eq!(frame::find(&framed(10, 2, 6, 0)), Err(WireError::CodecUnknown { byte: 2 }));
    assert!(matches!(frame::find(&framed(10, 1, 6, 6)), Ok(frame::Found::Whole { bytes_len: 14, .. })));
}

/// W-5. Goal: JSON headers of other writers are read. Method: one row per liberty.
#[test]
fn headers_of_other_writers_are_read() {
    for text in [
        r#"{"code":310,"language":"GO","version":317,"opaque":4,"flag":0,"extFields":{"queueId":4,"batch":true,"x":null}}"#,
        r#" { "code" : 310 , "language" : 9 , "opaque" : 4 , "extFields" : { "queueId" : "4" , "batch" : "true" } } "#,
        r#"{"code":310.0,"language":"GO","opaque":4.5,"version":null,"extFields":{"queueId":"4","batch":"true"}}"#,
        r#"{'code':310,language:'GO','opaque':"4",extFields:{queueId:'4',batch:'true',},}"#,
        r#"{"code":310,"language":"GO","opaque":4,"more":[{"a":"}"},[]],"extFields":{"queueId":"4","batch":"tru\u0065"}}"#,
        r#"{"code":310,"language":"GO","opaque":4,"extFields":{"queueId":"7","nested":{"queueId":"8"},"queueId":"4","batch":"true"}}"#,
        r#"{"code":310,"language":"GO","opaque":4,"extFields":{"queueId":"8","x":"1"},"extFields":{"queueId":"4","batch":"true"}}"#,
    ] {
        let header = json(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!((header.code, header.opaque, header.language), (310, 4, Language::Go), "{text}");
        assert_eq!(header.fields.get("queueId").and_then(|value| value.parse_i32()), Some(4), "{text}");
        assert_eq!(header.fields.get("batch").expect("there"), "true", "{text}");
        assert_eq!(header.fields.get("x"), None, "{text}");
    }
    let header = json(r#"{"code":1,"language":"COBOL","remark":null,"extFields":null}"#).expect("lenient");
    assert_eq!((header.language, header.remark), (Language::Unknown, None));
    assert_eq!(header.fields.iter().count(), 0);
}

/// W-5. Goal: what is no header closes the connection. Method: one row per fault.
#[test]
fn what_is_no_header_is_refused() {
    for text in [
        "",
        "null",
        "[]",
        "{",
        r#"{"code":310"#,
        r#"{"code":310}}"#,
        r#"{"code":310} x"#,
        r#"{"code":"many"}"#,
        r#"{"code":3000000000}"#,
        r#"{"code":310,"extFields":{"a":"b"}"#,
        r#"{"code":310,"extFields":{"a":"\u12"}}"#,
        r#"{"code":310,"extFields":{"a":"\q"}}"#,
        r#"{"code":310,"extFields":{"a"}}"#,
        r#"{"code":310,"remark":"a}"#,
    ] {
        assert!(matches!(json(text), Err(WireError::HeaderNotJson { .. })), "{text}");
    }
    let binary = |header: &[u8]| Frame { codec: Codec::Binary, header, body: b"" }.header().map(|_| ());
    let good = [0, 10, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(binary(&good), Ok(()));
    assert_eq!(binary(&good[..12]), Err(WireError::HeaderCut { part: "fixed fields" }));
    assert_eq!(binary(&good[..16]), Err(WireError::HeaderCut { part: "remark" }));
    assert_eq!(binary(&good[..20]), Err(WireError::HeaderCut { part: "extFields" }));
    let mut field = good;
    field[20] = 3;
    assert_eq!(binary(&[&field[..], &[0, 9, 1]].concat()), Err(WireError::HeaderCut { part: "field" }));
}

/// W-8. Goal: a request lacking a field fails by its name, with the official words. Method: V1, V2 and pull, each field.
#[test]
fn missing_and_wrong_fields_are_named() {
    let send = RemotingCommand::request(310).with(&SendMessageRequestHeaderV2::default());
    for letter in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        let mut lacking = send.clone();
        lacking.ext_fields.retain(|(name, _)| name != letter);
        if let "a" | "c" | "d" = letter {
            lacking.header::<SendMessageRequestHeader<'_>>().expect("no official broker misses it");
            continue;
        }
        let error = lacking.header::<SendMessageRequestHeader<'_>>().expect_err("a field is missing");
        assert_eq!(error, FieldError::Missing { name: letter });
        assert_eq!(error.to_string(), format!("the custom field <{letter}> is null"));
    }
    let wrong = RemotingCommand { ext_fields: vec![("g".into(), "noon".into())], ..send.clone() };
    assert_eq!(wrong.header::<SendMessageRequestHeaderV2<'_>>(), Err(FieldError::NotANumber { name: "g" }));
    let pull = RemotingCommand::request(11).with(&PullMessageRequestHeader::default());
    assert_eq!(pull.header::<PullMessageRequestHeader<'_>>(), Ok(PullMessageRequestHeader::default()));
    for (at, (name, _)) in pull.ext_fields.iter().enumerate() {
        let mut lacking = pull.clone();
        lacking.ext_fields.remove(at);
        let error = lacking.header::<PullMessageRequestHeader<'_>>().expect_err("a field is missing");
        assert!(matches!(error, FieldError::Missing { name: missing } if missing == name));
    }
    let lax = RemotingCommand::request(36).field("offset", 1).field("group", "g").field("delayLevel", 0);
    let back = lax.clone().field("maxReconsumeTimes", "many");
    let back = back.header::<ConsumerSendMsgBackRequestHeader<'_>>().expect("optional numbers may be none");
    assert_eq!((back.max_reconsume_times, back.unit_mode), (None, false));
}

/// W-8. Goal: V1 and V2 sends mean the same. Method: write one as the other.
#[test]
fn both_send_forms_are_one_header() {
    let header = SendMessageRequestHeader {
        producer_group: "PG".into(),
        topic: "T".into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 4,
        queue_id: -1,
        sys_flag: 8,
        born_timestamp: 1_700_000_000_000,
        flag: 7,
        properties: Some("TAGS\u{1}A\u{2}".into()),
        reconsume_times: Some(1),
        unit_mode: true,
        max_reconsume_times: Some(16),
        batch: true,
        broker_name: Some("broker-a".into()),
    };
    let long = RemotingCommand::request(10).with(&header);
    let short = RemotingCommand::request(310).with(&SendMessageRequestHeaderV2(header));
    assert_eq!(long.ext("defaultTopicQueueNums"), Some("4"));
    assert_eq!(short.ext("d"), Some("4"));
    for command in [long, short] {
        for codec in [Codec::Json, Codec::Binary] {
            let bytes = command.encode(codec);
            let Ok(frame::Found::Whole { frame, .. }) = frame::find(&bytes) else { panic!("not whole") };
            let read = frame.header().expect("our own");
            assert_eq!(SendMessageRequestHeader::read(&read.fields), Ok(header));
            let owned = RemotingCommand::from_frame(&frame).expect("our own");
            assert_eq!(owned.header(), Ok(SendMessageRequestHeaderV2(header)));
        }
    }
}

/// W-5. Goal: a header with more fields, or longer ones, than the marks hold reads the same. Method: grow both.
#[test]
fn large_headers_are_read_without_marks() {
    for (count, value_len) in [(19, 1), (20, 1), (21, 1), (300, 10), (2, 40_000), (3, 70_000)] {
        let mut command = RemotingCommand::request(1);
        for at in 0..count {
            command = command.field(format!("name{at}"), "v".repeat(value_len));
        }
        for codec in [Codec::Json, Codec::Binary] {
            let bytes = command.encode(codec);
            let Ok(frame::Found::Whole { frame, .. }) = frame::find(&bytes) else { panic!("not whole") };
            assert_eq!(RemotingCommand::from_frame(&frame).expect("our own"), command, "{count} {value_len}");
        }
    }
}

/// W-9. Goal: bodies of other writers are read. Method: one row per liberty.
#[test]
fn bodies_of_other_writers_are_read() {
    let expected = TopicRouteData {
        broker_datas: vec![BrokerData {
            broker_addrs: [(0, "a:1".to_owned()), (1, "b:2".to_owned())].into(),
            broker_name: "b".into(),
            cluster: "c".into(),
            ..BrokerData::default()
        }],
        queue_datas: vec![QueueData {
            broker_name: "b".into(),
            perm: 6,
            read_queue_nums: 4,
            ..QueueData::default()
        }],
        ..TopicRouteData::default()
    };
    for text in [
        r#"{"brokerDatas":[{"brokerAddrs":{0:"a:1",1:"b:2"},"brokerName":"b","cluster":"c"}],"queueDatas":[{"brokerName":"b","perm":6,"readQueueNums":4}]}"#,
        r#"{"brokerDatas":[{"brokerAddrs":{"0":"a:1","1":"b:2"},"brokerName":"b","cluster":"c","zoneName":null}],"queueDatas":[{"brokerName":"b","perm":"6","readQueueNums":4.0}],"filterServerTable":null}"#,
        r#"{brokerDatas:[{'brokerAddrs':{0:'a:1',1:'b:2',},brokerName:'b',cluster:"c"},],queueDatas:[{brokerName:"b",perm:6,readQueueNums:'4'}],}"#,
        " {\n\t\"brokerDatas\" : [ { \"brokerAddrs\" : { 0 : \"a:1\" , 1 : \"b:2\" } , \"brokerName\" : \"b\" , \"cluster\" : \"\\u0063\" } ] , \"queueDatas\" : [ { \"brokerName\" : \"b\" , \"perm\" : 6 , \"readQueueNums\" : 4 , \"x\" : { \"y\" : [ 1 , { } ] } } ] } ",
    ] {
        assert_eq!(TopicRouteData::decode(text.as_bytes()), Ok(expected.clone()), "{text}");
    }
    // The keys of non-Java clients: an object inside a text.
    let queue = MessageQueue::new("T", "b", 3);
    let stats = r#"{"offsetTable":{"{\"brokerName\":\"b\",\"queueId\":3,\"topic\":\"T\"}":{"maxOffset":9007199254740993}}}"#;
    let stats = TopicStatsTable::decode(stats.as_bytes()).expect("lenient");
    assert_eq!(stats.offset_table[&queue].max_offset, 9_007_199_254_740_993);
    let list = r#"{"offsetTable":[{"brokerName":"b","offset":4,"queueId":3,"topic":"T"}]}"#;
    assert_eq!(ResetOffsetBody::decode(list.as_bytes()).expect("the C++ form").offset_table[&queue], 4);
    // The C++ client says enums by their place.
    let heartbeat = r#"{"clientID":"c","consumerDataSet":[{"consumeFromWhere":4,"consumeType":0,"groupName":"G","messageModel":0,"subscriptionDataSet":[{"topic":"T","subString":"*","tagsSet":null}]}]}"#;
    let heartbeat = HeartbeatData::decode(heartbeat.as_bytes()).expect("the C++ form");
    let consumer = &heartbeat.consumer_data_set[0];
    assert_eq!(consumer.consume_from_where, ConsumeFromWhere::FirstOffset);
    assert_eq!(consumer.consume_type, ConsumeType::Actively);
    assert_eq!(consumer.message_model, MessageModel::Broadcasting);
    assert!(consumer.subscription_data_set[0].is_tag());
    // A text that is not UTF-8 loses its wrong bytes only.
    let list = TopicList::decode(b"{\"topicList\":[\"a\xff\xfeb\"]}").expect("lenient");
    assert_eq!(list.topic_list, ["a\u{fffd}\u{fffd}b"]);
}

/// W-9. Goal: what is no body is an error, and depth cannot exhaust the stack. Method: one row per fault.
#[test]
fn what_is_no_body_is_refused() {
    for text in [
        "",
        "{",
        "[]",
        "null",
        "{\"topicList\":",
        "{\"topicList\":[\"a}",
        "{\"topicList\":[]}}",
        "{\"a\" 1}",
        "{\"a\":\"\\u1\"}",
    ] {
        assert!(TopicList::decode(text.as_bytes()).is_err(), "{text}");
    }
    for open in ["[", "{\"a\":", "{{\"a\":", "{\"a\":{"] {
        let deep = open.repeat(100_000);
        assert!(fastjson::from_slice::<serde_json::Value>(deep.as_bytes()).is_err());
        assert!(TopicStatsTable::decode(deep.as_bytes()).is_err());
    }
    let deep = format!("{}{}", "[".repeat(60), "]".repeat(60));
    assert!(fastjson::from_slice::<serde_json::Value>(deep.as_bytes()).is_ok());
    assert!(ConsumeType::from_name("CONSUME_EAGERLY").is_none());
}

/// W-9. Goal: our own text is the Java form. Method: the small things it is made of.
#[test]
fn bodies_are_written_in_the_java_form() {
    let group = BrokerMemberGroup {
        broker_addrs: [(0, "a:1".to_owned()), (-1, "b\"\u{1}\n中".to_owned())].into(),
        ..BrokerMemberGroup::default()
    };
    assert_eq!(
        fastjson::to_string(&group),
        "{\"brokerAddrs\":{-1:\"b\\\"\\u0001\\n中\",0:\"a:1\"},\"brokerName\":\"\",\"cluster\":\"\"}"
    );
    assert_eq!(
        String::from_utf8(fastjson::to_vec_standard(&group)).expect("ASCII"),
        "{\"brokerAddrs\":{\"-1\":\"b\\\"\\u0001\\n\\u4E2D\",\"0\":\"a:1\"},\"brokerName\":\"\",\"cluster\":\"\"}"
    );
    let stats = ConsumeStats {
        consume_tps: 0.5,
        offset_table: [(
            MessageQueue::new("T", "b", 3),
            OffsetWrapper { broker_offset: i64::MAX, ..Default::default() },
        )]
        .into(),
    };
    assert_eq!(
        fastjson::to_string(&stats),
        "{\"consumeTps\":0.5,\"offsetTable\":{{\"brokerName\":\"b\",\"queueId\":3,\"topic\":\"T\"}:{\"brokerOffset\":9223372036854775807,\"consumerOffset\":0,\"lastTimestamp\":0,\"pullOffset\":0}}}"
    );
    let result =
        ConsumeMessageDirectlyResult { auto_commit: true, ..ConsumeMessageDirectlyResult::default() };
    assert_eq!(
        fastjson::to_string(&result),
        "{\"autoCommit\":true,\"consumeResult\":\"CR_SUCCESS\",\"order\":false,\"spentTimeMills\":0}"
    );
    assert_eq!(fastjson::to_string(&f64::NAN), "null");
    assert_eq!(
        fastjson::to_string_pretty(&GroupList { group_list: vec!["g".into()] }),
        "{\n\t\"groupList\":[\n\t\t\"g\"\n\t]\n}"
    );
    assert_eq!(fastjson::to_string_pretty(&GroupList::default()), "{\n\t\"groupList\":[]\n}");
}

/// W-9. Goal: a body of more values than are allowed is refused before they are made, wherever they stand. Method: lists, maps, parts that
/// nobody reads, nulls, and an object inside a text, each just within the bound and one beyond.
#[test]
fn values_are_counted() {
    fn read(text: &str, values_max: usize) -> bool {
        LockBatchRequestBody::decode_within(text.as_bytes(), values_max).is_ok()
    }
    for (text, values) in [
        (r#"{"mqSet":[{},{},{}]}"#, 4),
        (r#"{"mqSet":[null,{},null]}"#, 4),
        (r#"{"mqSet":[{"topic":"T","queueId":1}]}"#, 4),
        (r#"{"more":[1,[2,{}]]}"#, 6),
        (r#"{"a":1,"b":2}"#, 4),
    ] {
        assert!(read(text, values) && !read(text, values - 1), "{text}");
    }
    let within = |values_max| {
        let text = br#"{"subscriptionData":"{\"tagsSet\":[\"a\",\"b\"]}","group":"G"}"#;
        CheckClientRequestBody::decode_within(text, values_max).is_ok()
    };
    assert!(within(5) && !within(4));
}
