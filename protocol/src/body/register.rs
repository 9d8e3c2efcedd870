//! A broker tells its topics to a name server: REGISTER_BROKER (103), as JSON or compressed.
//!
//! ```text
//! zlib( | len | DataVersion JSON | topic count | len | "name read write perm filterType attributesJson" | ..
//!       | len | filter servers JSON | mapping count | len | TopicQueueMappingInfo JSON | .. )
//! ```
//! Every length and count is an i32. 4.9 writes five words for a topic and no mappings; `topicSysFlag` and `order` are
//! not carried. What comes out of the stream is bounded, whatever goes in. Implements rule W-10.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use thiserror::Error;

use super::{
    DataVersion, TopicConfig, TopicConfigAndMappingSerializeWrapper, TopicFilterType, TopicQueueMappingInfo,
};
use crate::{fastjson, version};

bodies! {
    #[derive(Eq)]
    pub struct RegisterBrokerBody {
        pub filter_server_list: Vec<String>,
        pub topic_config_serialize_wrapper: TopicConfigAndMappingSerializeWrapper,
    }
}

/// A compressed registration that cannot be read.
#[derive(Debug, Error)]
pub enum RegisterError {
    #[error("the compressed registration is no zlib stream: {0}")]
    Stream(#[from] std::io::Error),
    #[error("the compressed registration is larger than {REGISTER_BYTES_MAX} bytes")]
    TooBig,
    #[error("the compressed registration ends inside its {part}")]
    Cut { part: &'static str },
    #[error("{0}")]
    Json(#[from] fastjson::Error),
    #[error("a topic of the compressed registration has {words} words")]
    Topic { words: usize },
}

impl RegisterBrokerBody {
    /// The 5.x layout; who announces less than 5.0.0 must not have mappings in it.
    pub fn encode_compressed(&self) -> Vec<u8> {
        let wrapper = &self.topic_config_serialize_wrapper;
        let mut out = Vec::new();
        put_text(&mut out, &fastjson::to_vec(&wrapper.data_version));
        put_count(&mut out, wrapper.topic_config_table.len());
        for config in wrapper.topic_config_table.values() {
            put_text(&mut out, topic_words(config).as_bytes());
        }
        put_text(&mut out, &fastjson::to_vec(&self.filter_server_list));
        put_count(&mut out, wrapper.topic_queue_mapping_info_map.len());
        for info in wrapper.topic_queue_mapping_info_map.values() {
            put_text(&mut out, &fastjson::to_vec(info));
        }
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&out).expect("a vector takes everything");
        encoder.finish().expect("a vector takes everything")
    }

    /// Reads what a broker of the given version sent.
    pub fn decode_compressed(bytes: &[u8], sender_version: i32) -> Result<RegisterBrokerBody, RegisterError> {
        let mut plain = Vec::new();
        ZlibDecoder::new(bytes).take(REGISTER_BYTES_MAX + 1).read_to_end(&mut plain)?;
        if plain.len() as u64 > REGISTER_BYTES_MAX {
            return Err(RegisterError::TooBig);
        }
        let mut rest = plain.as_slice();
        let data_version: DataVersion = fastjson::from_slice(take_text(&mut rest, "data version")?)?;
        let mut topic_config_table = BTreeMap::new();
        for _ in 0..take_count(&mut rest, "number of topics")? {
            let config = topic_from_words(&String::from_utf8_lossy(take_text(&mut rest, "topics")?))?;
            topic_config_table.insert(config.topic_name.clone(), config);
        }
        let filter_server_list = fastjson::from_slice(take_text(&mut rest, "filter servers")?)?;
        let mut topic_queue_mapping_info_map = BTreeMap::new();
        if sender_version >= version::V5_0_0 {
            for _ in 0..take_count(&mut rest, "number of mappings")? {
                let info: TopicQueueMappingInfo = fastjson::from_slice(take_text(&mut rest, "mappings")?)?;
                topic_queue_mapping_info_map.insert(info.topic.clone(), info);
            }
        }
        Ok(RegisterBrokerBody {
            filter_server_list,
            topic_config_serialize_wrapper: TopicConfigAndMappingSerializeWrapper {
                data_version,
                topic_config_table,
                topic_queue_mapping_info_map,
                ..TopicConfigAndMappingSerializeWrapper::default()
            },
        })
    }

    /// A body in whichever form the header says it has.
    pub fn decode_any(
        bytes: &[u8],
        compressed: bool,
        sender_version: i32,
    ) -> Result<RegisterBrokerBody, RegisterError> {
        if compressed {
            return RegisterBrokerBody::decode_compressed(bytes, sender_version);
        }
        Ok(fastjson::from_slice(bytes)?)
    }
}

/// The header's `bodyCrc32` of a body as sent; 0 there means unchecked.
pub fn body_crc32(bytes: &[u8]) -> i32 {
    (crc32fast::hash(bytes) & 0x7FFF_FFFF) as i32
}

fn topic_words(config: &TopicConfig) -> String {
    format!(
        "{} {} {} {} {} {}",
        config.topic_name,
        config.read_queue_nums,
        config.write_queue_nums,
        config.perm,
        config.topic_filter_type.name(),
        fastjson::to_string(&config.attributes),
    )
}

fn topic_from_words(text: &str) -> Result<TopicConfig, RegisterError> {
    let words: Vec<&str> = text.splitn(TOPIC_WORDS_MAX, ' ').collect();
    let [name, read, write, perm, filter, more @ ..] = words.as_slice() else {
        return Err(RegisterError::Topic { words: words.len() });
    };
    let number = |word: &str| word.parse::<i32>().map_err(|_| RegisterError::Topic { words: words.len() });
    let attributes = match more.first() {
        Some(json) if !json.is_empty() => fastjson::from_slice(json.as_bytes())?,
        _ => BTreeMap::new(),
    };
    Ok(TopicConfig {
        attributes,
        read_queue_nums: number(read)?,
        write_queue_nums: number(write)?,
        perm: number(perm)?,
        topic_filter_type: TopicFilterType::from_name(filter).unwrap_or_default(),
        ..TopicConfig::new(*name, 0, 0)
    })
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = i32::try_from(count).expect("a table in memory has fewer entries");
    out.extend_from_slice(&count.to_be_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    put_count(out, text.len());
    out.extend_from_slice(text);
}

/// A negative count is none.
fn take_count(rest: &mut &[u8], part: &'static str) -> Result<i32, RegisterError> {
    let Some((count, tail)) = rest.split_first_chunk() else { return Err(RegisterError::Cut { part }) };
    *rest = tail;
    Ok(i32::from_be_bytes(*count).max(0))
}

fn take_text<'a>(rest: &mut &'a [u8], part: &'static str) -> Result<&'a [u8], RegisterError> {
    let len = take_count(rest, part)? as usize;
    let Some((text, tail)) = rest.split_at_checked(len) else { return Err(RegisterError::Cut { part }) };
    *rest = tail;
    Ok(text)
}

/// Name, three numbers, filter type and attributes.
const TOPIC_WORDS_MAX: usize = 6;
/// A million topics; what a stream holds beyond it is not unpacked.
const REGISTER_BYTES_MAX: u64 = 256 * 1024 * 1024;
