//! Asks name servers for routes, for server-side rebalance (code 400).
//!
//! ```text
//! shard --RouteQuestion--> this thread --105 GET_ROUTEINFO_BY_TOPIC--> the first name server that answers
//!       <---RouteAnswer---
//! ```
//!
//! An ordinary thread on the kernel's sockets that sleeps until it is asked. A connection is made for each question:
//! rebalancing at the broker is rare. A route is good for a second, so that a whole group's questions are one.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use protocol::RemotingCommand;
use protocol::body::{Body as _, TopicRouteData};
use protocol::code::{request, response};
use protocol::frame::{self, Codec, Found};

use crate::broker::assignment::{RouteAnswer, RouteEnds};
use crate::broker::topic_config::PERM_READ;
use crate::config::HostPort;
use crate::speaker;

/// The running thread.
pub struct RouteAsker {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

impl RouteAsker {
    pub fn start(servers: Vec<HostPort>, ends: RouteEnds) -> std::io::Result<RouteAsker> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = speaker::spawn("ab-routes", move || {
            ends.questions.sleeps_as(thread::current());
            let mut recent = HashMap::new();
            while !stopped.load(Ordering::Acquire) {
                match ends.questions.pop() {
                    Some(question) => {
                        let answer = fresh(&mut recent, &servers, question.topic);
                        // As many places as questions may be under way, so there is room.
                        let _ = ends.answers.push(answer);
                        ends.answers.wake();
                    }
                    None => thread::park_timeout(PARK_MAX),
                }
            }
        })?;
        Ok(RouteAsker { thread, stop })
    }

    /// Ends the thread; waits for the question under way.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        // It has no result, and a panic in it has been printed.
        let _ = self.thread.join();
    }
}

fn fresh(
    recent: &mut HashMap<String, (Instant, RouteAnswer)>,
    servers: &[HostPort],
    topic: String,
) -> RouteAnswer {
    recent.retain(|_, (asked, _)| asked.elapsed() < GOOD_FOR);
    if let Some((_, answer)) = recent.get(&topic) {
        return answer.clone();
    }
    let mut answer = RouteAnswer::Unreachable;
    for server in servers {
        if let Ok(found) = ask(server, &topic) {
            answer = found;
            break;
        }
    }
    recent.insert(topic, (Instant::now(), answer.clone()));
    answer
}

fn ask(server: &HostPort, topic: &str) -> std::io::Result<RouteAnswer> {
    let addresses = (server.host.as_str(), server.port).to_socket_addrs()?;
    let address = addresses.into_iter().next().ok_or(std::io::ErrorKind::NotFound)?;
    let mut stream = TcpStream::connect_timeout(&address, WAIT_MAX)?;
    stream.set_read_timeout(Some(WAIT_MAX))?;
    stream.set_write_timeout(Some(WAIT_MAX))?;
    let mut question = RemotingCommand::request(request::GET_ROUTEINFO_BY_TOPIC).field("topic", topic);
    question.opaque = 1;
    stream.write_all(&question.encode(Codec::Json))?;
    let answer = read_command(&mut stream)?;
    match answer.code {
        response::SUCCESS => {}
        response::TOPIC_NOT_EXIST => return Ok(RouteAnswer::Unknown),
        _ => return Err(std::io::ErrorKind::InvalidData.into()),
    }
    let route = TopicRouteData::decode(&answer.body).map_err(|_| std::io::ErrorKind::InvalidData)?;
    let readable = route.queue_datas.into_iter().filter(|queues| queues.perm & PERM_READ != 0);
    Ok(RouteAnswer::Queues(readable.map(|queues| (queues.broker_name, queues.read_queue_nums)).collect()))
}

fn read_command(stream: &mut TcpStream) -> std::io::Result<RemotingCommand> {
    let mut received = Vec::new();
    let mut chunk = [0; 16 * 1024];
    loop {
        let invalid = |_| std::io::Error::from(std::io::ErrorKind::InvalidData);
        if let Found::Whole { frame, .. } = frame::find(&received).map_err(invalid)? {
            return RemotingCommand::from_frame(&frame).map_err(invalid);
        }
        let read = stream.read(&mut chunk)?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        received.extend_from_slice(&chunk[..read]);
    }
}

const WAIT_MAX: Duration = Duration::from_millis(500);
const GOOD_FOR: Duration = Duration::from_secs(1);
/// Only so that a lost wake-up costs no more than this.
const PARK_MAX: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Goal: a dead name server is passed over, and the readable queues of every broker come back.
    /// Method: one closed port, one scripted name server on loopback.
    #[test]
    fn the_first_name_server_that_answers_gives_the_route() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap();
        let scripted = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let question = read_command(&mut stream).unwrap();
            assert_eq!(question.code, request::GET_ROUTEINFO_BY_TOPIC);
            let body = r#"{"brokerDatas":[],"queueDatas":[
                {"brokerName":"a","perm":6,"readQueueNums":4,"writeQueueNums":4,"topicSysFlag":0},
                {"brokerName":"b","perm":2,"readQueueNums":4,"writeQueueNums":4,"topicSysFlag":0}]}"#;
            let answer = RemotingCommand::response(0, question.opaque).body(body);
            stream.write_all(&answer.encode(Codec::Json)).unwrap();
        });
        let server = |port| HostPort { host: "127.0.0.1".into(), port };
        let servers = [server(closed.port()), server(open.port())];
        let mut recent = HashMap::new();
        let expected = RouteAnswer::Queues(vec![("a".into(), 4)]);
        assert_eq!(fresh(&mut recent, &servers, "T".into()), expected);
        scripted.join().unwrap();
        assert_eq!(fresh(&mut recent, &servers, "T".into()), expected, "asked once a second at most");
        assert_eq!(fresh(&mut recent, &servers[..1], "U".into()), RouteAnswer::Unreachable);
    }
}
