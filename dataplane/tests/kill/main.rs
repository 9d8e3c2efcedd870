//! D-kill. Goal: what was acknowledged is there after kill -9 of the dataplane under load, whatever the instant; queue
//! offsets have no hole and no double; and the producers learn at once.
//! Method: the real binary over TAP (kernel sockets where the host gives no TAP), one pipelining producer a queue that
//! notes every acknowledged message; SIGKILL at a random instant; start again on the same store as a supervisor would;
//! read every queue back over the wire and ask the notes. Twenty rounds on one store, `KILL_ROUNDS` for another number.

#[path = "../common/apart.rs"]
mod apart;
#[path = "../common/awake.rs"]
mod awake;
#[allow(dead_code)] // Shared with a bench.
mod broker;
mod wire;

use std::collections::HashMap;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use broker::Broker;
use wire::Peer;

const QUEUES: i32 = 4;
const IN_FLIGHT: usize = 64;
/// After the new process is ready it says at once that it does not know the producers. If that is lost, their own
/// retransmission timer decides when they meet it, which doubles: after as long again as there was nobody.
const LEARN_MAX: Duration = Duration::from_secs(2);

/// What one producer was promised: queue offset -> the body that lies there.
type Promised = HashMap<i64, Vec<u8>>;

#[test]
fn acknowledged_messages_survive_kill_9_under_load() {
    apart::apart(rounds_of_kills);
}

fn rounds_of_kills() {
    let rounds = number_from("KILL_ROUNDS").unwrap_or(20) as u32;
    let seed = number_from("SEED").unwrap_or(0x5EED);
    let mut chance = seed;
    let mut broker = Broker::start();
    println!("kill -9, {rounds} rounds, {}, SEED={seed}", broker.device);
    let mut promised: Vec<Promised> = vec![Promised::new(); QUEUES as usize];
    let mut read_to = vec![0_i64; QUEUES as usize];
    let mut slowest_learn = Duration::ZERO;
    for round in 0..rounds {
        let acked = run_until_killed(&mut broker, round, next_chance(&mut chance), &mut slowest_learn);
        let mut count = 0;
        for (queue, notes) in acked.into_iter().enumerate() {
            count += notes.len();
            for (offset, body) in notes {
                let before = promised[queue].insert(offset, body);
                assert!(before.is_none(), "queue {queue}: offset {offset} was given twice");
            }
        }
        assert!(count > 0, "no message was acknowledged in round {round}");
        let read = read_back(&broker, &promised, &mut read_to);
        println!(
            "  round {round:2}: {count:6} acknowledged, {read:6} read back, ready again after {:4} ms",
            broker.ready_ms
        );
    }
    // Once more from the beginning, through whatever the store keeps where by now.
    let total = read_back(&broker, &promised, &mut vec![0; QUEUES as usize]);
    let all: usize = promised.iter().map(HashMap::len).sum();
    println!(
        "  all of it: {all} acknowledged, {total} read back; slowest producer learnt after {} ms",
        slowest_learn.as_millis()
    );
    broker.stop();
}

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// A small seeded generator (splitmix64): the instants of the kills are the same for the same seed.
fn next_chance(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Loads the broker, kills it at a random instant, starts it again, and returns what each producer was promised.
fn run_until_killed(broker: &mut Broker, round: u32, chance: u64, slowest: &mut Duration) -> Vec<Promised> {
    let (served, producing) = mpsc::channel();
    let producers: Vec<_> = (0..QUEUES)
        .map(|queue| {
            let (address, served) = (broker.address, served.clone());
            std::thread::spawn(move || produce(Peer::connect(address), queue, round, served))
        })
        .collect();
    drop(served);
    // A producer that comes after the kill would be served by the next broker, and have nothing to learn.
    (0..QUEUES).for_each(|_| producing.recv().expect("a producer was not served"));
    std::thread::sleep(Duration::from_micros(100_000 + chance % 400_000));
    let (killed, killed_awake) = (Instant::now(), awake::now());
    broker.kill_9();
    broker.start_again();
    let ready_awake = awake::now();
    let learn_max = LEARN_MAX + (ready_awake - killed_awake);
    let mut promised = Vec::new();
    for producer in producers {
        let Fallen { notes, at, awake } = producer.join().expect("a producer panicked");
        let learnt = at.checked_duration_since(killed).expect("no connection fails before the kill");
        *slowest = (*slowest).max(learnt);
        let late = awake.saturating_sub(ready_awake);
        assert!(late <= learn_max, "a producer hung for {late:?} after the broker was ready again");
        promised.push(notes);
    }
    promised
}

/// A producer whose connection failed.
struct Fallen {
    notes: Promised,
    at: Instant,
    awake: Duration,
}

/// Keeps `IN_FLIGHT` sends on the wire until the connection fails. Says when the first was acknowledged.
fn produce(mut peer: Peer, queue: i32, round: u32, served: mpsc::Sender<()>) -> Fallen {
    let mut notes = Promised::new();
    let mut waiting: HashMap<i32, Vec<u8>> = HashMap::new();
    let mut number = 0_u32;
    let mut served = Some(served);
    loop {
        let sent = (waiting.len()..IN_FLIGHT).try_for_each(|_| {
            let size = 40 + (number as usize * 37) % 1_400;
            let mut body = format!("{round}/{queue}/{number}/").into_bytes();
            body.resize(size, b'x');
            let opaque = number as i32;
            peer.send(queue, opaque, &body)?;
            waiting.insert(opaque, body);
            number += 1;
            Ok(())
        });
        let Ok(ack) = sent.and_then(|()| peer.next_ack()) else {
            return Fallen { notes, at: Instant::now(), awake: awake::now() };
        };
        let body = waiting.remove(&ack.opaque).expect("an answer to a request that was not made");
        assert_eq!(ack.code, 0, "refused: {}", ack.remark);
        notes.insert(ack.queue_offset, body);
        if let Some(served) = served.take() {
            served.send(()).expect("somebody waits for it");
        }
    }
}

/// Reads each queue from `read_to` to its end: offsets without a hole, promised bodies where they were promised.
fn read_back(broker: &Broker, promised: &[Promised], read_to: &mut [i64]) -> usize {
    let mut read = 0;
    for (queue, notes) in promised.iter().enumerate() {
        let mut peer = Peer::connect(broker.address);
        let from = read_to[queue];
        let mut next = from;
        loop {
            let messages = peer.pull(queue as i32, next);
            if messages.is_empty() {
                break;
            }
            for message in messages {
                assert_eq!(message.queue_offset, next, "queue {queue}: a hole or a double");
                if let Some(body) = notes.get(&next) {
                    assert_eq!(
                        &message.body, body,
                        "queue {queue}, offset {next}: not what was acknowledged"
                    );
                }
                next += 1;
                read += 1;
            }
        }
        let lost = notes.keys().filter(|offset| **offset >= next).count();
        assert_eq!(lost, 0, "queue {queue}: {lost} acknowledged messages are gone; the queue ends at {next}");
        read_to[queue] = next;
    }
    read
}
