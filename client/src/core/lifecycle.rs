//! The life of a producer or consumer: CREATE_JUST → RUNNING → SHUTDOWN_ALREADY, and START_FAILED beside it.
//!
//! ```text
//!   CREATE_JUST ──begin──► START_FAILED ──started──► RUNNING ──stop──► SHUTDOWN_ALREADY
//!        ▲                      │  (stays there when its settings are refused)
//!        └──────retry───────────┘  (its group was taken: may start again when it is free)
//! ```

use crate::error::{ClientError, Service, State};

#[derive(Debug)]
pub struct Lifecycle {
    service: Service,
    state: State,
}

impl Lifecycle {
    pub fn new(service: Service) -> Lifecycle {
        Lifecycle { service, state: State::CreateJust }
    }

    /// Starting is possible once. Until `started` is called it counts as failed.
    pub fn begin(&mut self) -> Result<(), ClientError> {
        match self.state {
            State::CreateJust => {
                self.state = State::StartFailed;
                Ok(())
            }
            state => Err(ClientError::AlreadyStarted { service: self.service, state }),
        }
    }

    pub fn started(&mut self) {
        assert!(self.state == State::StartFailed, "begin came first");
        self.state = State::Running;
    }

    /// The start failed for a reason that may pass.
    pub fn retry(&mut self) {
        assert!(self.state == State::StartFailed, "begin came first");
        self.state = State::CreateJust;
    }

    /// Every call but `start` and `shutdown` needs a running service.
    pub fn check(&self) -> Result<(), ClientError> {
        match self.state {
            State::Running => Ok(()),
            state => Err(ClientError::NotRunning { service: self.service, state }),
        }
    }

    /// Whether there is anything to shut down; a service that never ran just stays as it is.
    pub fn stop(&mut self) -> bool {
        let was_running = self.state == State::Running;
        if was_running {
            self.state = State::ShutdownAlready;
        }
        was_running
    }

    pub fn state(&self) -> State {
        self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the documented refusals of starting twice, sending too early and sending too late.
    #[test]
    fn each_state_refuses_with_its_text() {
        let mut life = Lifecycle::new(Service::Producer);
        let text = |result: Result<(), ClientError>| result.unwrap_err().to_string();
        assert_eq!(text(life.check()), "The producer service state not OK, CREATE_JUST");
        assert_eq!(life.begin(), Ok(()));
        life.started();
        assert_eq!(life.check(), Ok(()));
        assert_eq!(text(life.begin()), "The producer service state not OK, maybe started once, RUNNING");
        assert!(life.stop());
        assert!(!life.stop());
        assert_eq!(text(life.check()), "The producer service state not OK, SHUTDOWN_ALREADY");
        assert_eq!(
            text(life.begin()),
            "The producer service state not OK, maybe started once, SHUTDOWN_ALREADY"
        );
    }

    /// Goal: refused settings leave START_FAILED for good; a taken group leaves a service that can start later.
    #[test]
    fn a_failed_start_is_told_apart() {
        let mut life = Lifecycle::new(Service::PushConsumer);
        life.begin().unwrap();
        assert_eq!(
            life.begin().unwrap_err().to_string(),
            "The consumer service state not OK, maybe started once, START_FAILED"
        );
        let mut life = Lifecycle::new(Service::Producer);
        life.begin().unwrap();
        life.retry();
        assert_eq!(life.begin(), Ok(()));
    }
}
