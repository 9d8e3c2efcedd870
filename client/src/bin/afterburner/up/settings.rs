//! Keys of the broker that `up` sets itself, by its own flags: from --set it would not know of them, and wait for a broker that
//! is elsewhere.

/// The first `--set` of such a key, with the flag to write instead.
pub fn refuse(set: &[String]) -> Result<(), String> {
    let pairs = set.iter().filter_map(|pair| pair.split_once('='));
    for (key, value) in pairs.map(|(key, value)| (key.trim(), value.trim())) {
        if let Some((_, flag)) = FLAGS.iter().find(|(own, _)| *own == key) {
            return Err(format!(
                "--set {key}={value}: `up` has a flag for it: {}",
                flag.replace("{}", value)
            ));
        }
    }
    Ok(())
}

const FLAGS: [(&str, &str); 7] = [
    ("listenPort", "--broker-port {}"),
    ("namesrvAddr", "--namesrv-port PORT, of the name server that it starts"),
    ("storePathRootDir", "--store {}"),
    ("device", "--device {}"),
    ("address", "--address {}"),
    ("bindAddress", "--device kernel:{}"),
    ("brokerIP1", "--device kernel:{}, or --address for a TAP or a card"),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: `up` says at once what to write, where it had waited for a broker at a port that this one does not have.
    #[test]
    fn keys_with_a_flag_are_refused_with_it() {
        let refused = |pairs: &[&str]| refuse(&pairs.iter().map(|&pair| pair.to_owned()).collect::<Vec<_>>());
        let told = refused(&["cores=none", "listenPort = 10912"]).unwrap_err();
        assert_eq!(told, "--set listenPort=10912: `up` has a flag for it: --broker-port 10912");
        assert_eq!(refused(&["cores=none", "brokerName=a", "nonsense"]), Ok(()));
    }
}
