//! What a client refuses before it asks a broker: names, sizes, forbidden topics (Validators).

use crate::error::Invalid;
use crate::message::Message;
use protocol::names;

/// The rules of a group's name, blank first, then length, then characters, as the official clients look.
pub fn group(name: &str) -> Result<(), Invalid> {
    if name.trim().is_empty() {
        return Err(Invalid::GroupBlank);
    }
    if name.chars().count() > names::GROUP_LEN_MAX_CLIENT {
        return Err(Invalid::GroupLong { max: names::GROUP_LEN_MAX_CLIENT });
    }
    if !names::has_legal_characters(name) {
        return Err(Invalid::GroupCharacters { group: name.to_owned() });
    }
    Ok(())
}

pub fn producer_group(name: &str) -> Result<(), Invalid> {
    group(name)?;
    reserved("producerGroup", name, names::DEFAULT_PRODUCER_GROUP)
}

pub fn consumer_group(name: &str) -> Result<(), Invalid> {
    group(name)?;
    reserved("consumerGroup", name, names::DEFAULT_CONSUMER_GROUP)
}

pub fn topic(name: &str) -> Result<(), Invalid> {
    if name.trim().is_empty() {
        return Err(Invalid::TopicBlank);
    }
    if name.chars().count() > names::TOPIC_LEN_MAX {
        return Err(Invalid::TopicLong { max: names::TOPIC_LEN_MAX });
    }
    if !names::has_legal_characters(name) {
        return Err(Invalid::TopicCharacters { topic: name.to_owned() });
    }
    Ok(())
}

/// A message that is about to be sent; `body_max` is the producer's `max_message_bytes`.
pub fn message(message: &Message, body_max: usize) -> Result<(), Invalid> {
    topic(&message.topic)?;
    if names::is_send_forbidden(&message.topic) {
        return Err(Invalid::TopicForbidden { topic: message.topic.clone() });
    }
    if message.body.is_empty() {
        return Err(Invalid::BodyEmpty);
    }
    if message.body.len() > body_max {
        return Err(Invalid::BodyBig { max: body_max });
    }
    Ok(())
}

/// The rules that hold between the messages of one batch, over those of each.
pub fn batch(messages: &[Message]) -> Result<(), Invalid> {
    let Some(first) = messages.first() else {
        return Err(Invalid::BatchEmpty);
    };
    for message in messages {
        if message.delay_level() > 0 {
            return Err(Invalid::BatchDelay);
        }
        if names::is_retry_topic(&message.topic) {
            return Err(Invalid::BatchRetry);
        }
        if message.topic != first.topic {
            return Err(Invalid::BatchTopics);
        }
        if message.wait_store_ok() != first.wait_store_ok() {
            return Err(Invalid::BatchWaits);
        }
    }
    Ok(())
}

fn reserved(role: &'static str, name: &str, taken: &str) -> Result<(), Invalid> {
    if name == taken { Err(Invalid::GroupReserved { role, group: name.to_owned() }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: every documented refusal of a group, with its text.
    #[test]
    fn groups_are_refused_with_the_documented_texts() {
        let long = "g".repeat(256);
        let cases: [(&str, &str); 7] = [
            ("", "the specified group is blank"),
            (" \t", "the specified group is blank"),
            (&long, "the specified group is longer than group max length 255."),
            ("a b", "the specified group[a b] contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$"),
            ("a.b", "the specified group[a.b] contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$"),
            (
                "gr\u{fc}n",
                "the specified group[gr\u{fc}n] contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$",
            ),
            ("DEFAULT_PRODUCER", "producerGroup can not equal DEFAULT_PRODUCER, please specify another one."),
        ];
        for (name, text) in cases {
            assert_eq!(producer_group(name).unwrap_err().to_string(), text);
        }
        for name in ["a", "%RETRY%a|b_c-9", &"g".repeat(255), "DEFAULT_CONSUMER"] {
            assert_eq!(producer_group(name), Ok(()), "{name}");
        }
        assert!(consumer_group("DEFAULT_CONSUMER").is_err());
    }

    /// Goal: topics and bodies at the edges of what is allowed.
    #[test]
    fn messages_are_refused_by_topic_and_body() {
        let check = |topic: &str, body: Vec<u8>| message(&Message::new(topic, body), 16);
        assert_eq!(check("T", vec![0; 16]), Ok(()));
        assert_eq!(check("T", vec![0; 17]), Err(Invalid::BodyBig { max: 16 }));
        assert_eq!(check("T", vec![]), Err(Invalid::BodyEmpty));
        assert_eq!(check(" ", vec![1]), Err(Invalid::TopicBlank));
        assert_eq!(check(&"t".repeat(127), vec![1]), Ok(()));
        assert_eq!(check(&"t".repeat(128), vec![1]), Err(Invalid::TopicLong { max: 127 }));
        assert_eq!(check("t/1", vec![1]), Err(Invalid::TopicCharacters { topic: "t/1".to_owned() }));
        for &forbidden in names::SEND_FORBIDDEN {
            let error = check(forbidden, vec![1]).unwrap_err();
            assert_eq!(error.to_string(), format!("Sending message to topic[{forbidden}] is forbidden."));
        }
    }

    /// Goal: a batch is one topic, one WAIT, no delay, no retry topic, not empty.
    #[test]
    fn batches_are_of_one_kind() {
        let plain = || Message::new("T", "x");
        assert_eq!(batch(&[]), Err(Invalid::BatchEmpty));
        assert_eq!(batch(&[plain(), plain()]), Ok(()));
        assert_eq!(batch(&[plain(), Message::new("U", "x")]), Err(Invalid::BatchTopics));
        assert_eq!(batch(&[plain(), plain().with_wait_store_ok(false)]), Err(Invalid::BatchWaits));
        assert_eq!(batch(&[plain(), plain().with_delay_level(1)]), Err(Invalid::BatchDelay));
        assert_eq!(batch(&[Message::new("%RETRY%g", "x")]), Err(Invalid::BatchRetry));
    }
}
