//! Looking after a cluster: brokers, topics, groups and their figures.
//!
//! Name servers are asked in turn until one answers; brokers by their address. An admin sends no heartbeat, so nobody
//! takes it for a member of a group.

use crate::config::ClientConfig;
use crate::core::validate;
use crate::error::{ClientError, Service};
use crate::net::{Pending, Shell};
use crate::registry;
use crate::service::Membership;
use protocol::RemotingCommand;
use protocol::body::{
    Body, ClusterInfo, ConsumeStats, KVTable, MASTER_ID, SubscriptionGroupConfig, SubscriptionGroupWrapper,
    TopicConfig, TopicList, TopicRouteData, TopicStatsTable,
};
use protocol::code::{request, response};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use protocol::body;

/// Asks name servers and brokers what administrators want to know, and has them change it.
pub struct Admin {
    membership: Membership,
}

/// A broker process that has the master's part.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Master {
    pub broker_name: String,
    pub addr: String,
}

impl Admin {
    pub fn new(client: ClientConfig) -> Admin {
        Admin { membership: Membership::new(client, Service::Admin) }
    }

    pub async fn start(&self) -> Result<(), ClientError> {
        self.membership.begin()?;
        let share = self.membership.join(true);
        self.membership.settle(share, Ok(())).await
    }

    pub async fn shutdown(&self) {
        if let Some(share) = self.membership.stop() {
            registry::leave(&share.client_id).await;
        }
    }

    pub async fn cluster(&self) -> Result<ClusterInfo, ClientError> {
        let answer =
            self.ask_name_server(&RemotingCommand::request(request::GET_BROKER_CLUSTER_INFO)).await?;
        read(&answer)
    }

    /// The masters of one cluster, or of all.
    pub async fn masters(&self, cluster: Option<&str>) -> Result<Vec<Master>, ClientError> {
        let info = self.cluster().await?;
        let names: BTreeSet<&String> = match cluster {
            Some(cluster) => info.cluster_addr_table.get(cluster).into_iter().flatten().collect(),
            None => info.broker_addr_table.keys().collect(),
        };
        let master = |name: &&String| {
            let addr = info.broker_addr_table.get(*name)?.broker_addrs.get(&MASTER_ID)?;
            Some(Master { broker_name: (*name).clone(), addr: addr.clone() })
        };
        Ok(names.iter().filter_map(master).collect())
    }

    pub async fn topics(&self) -> Result<Vec<String>, ClientError> {
        let command = RemotingCommand::request(request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER);
        let mut list: TopicList = read(&self.ask_name_server(&command).await?)?;
        list.topic_list.sort();
        Ok(list.topic_list)
    }

    pub async fn route(&self, topic: &str) -> Result<TopicRouteData, ClientError> {
        let command = RemotingCommand::request(request::GET_ROUTEINFO_BY_TOPIC).field("topic", topic);
        read(&self.ask_name_server(&command).await?)
    }

    /// Makes a topic on a broker, or changes it there.
    pub async fn create_topic(&self, addr: &str, config: &TopicConfig) -> Result<(), ClientError> {
        validate::topic(&config.topic_name)?;
        let mut command = RemotingCommand::request(request::UPDATE_AND_CREATE_TOPIC)
            .field("topic", &config.topic_name)
            .field("defaultTopic", protocol::names::TBW102)
            .field("readQueueNums", config.read_queue_nums)
            .field("writeQueueNums", config.write_queue_nums)
            .field("perm", config.perm)
            .field("topicFilterType", config.topic_filter_type.name())
            .field("topicSysFlag", config.topic_sys_flag)
            .field("order", config.order);
        if !config.attributes.is_empty() {
            let pair = |(name, value): (&String, &String)| format!("+{name}={value}");
            let attributes: Vec<String> = config.attributes.iter().map(pair).collect();
            command = command.field("attributes", attributes.join(","));
        }
        self.ask(addr, command).await.map(|_| ())
    }

    /// Deletes a topic on every master, then from every name server. Returns the masters that had it.
    pub async fn delete_topic(&self, topic: &str, cluster: Option<&str>) -> Result<Vec<Master>, ClientError> {
        let mut had = Vec::new();
        for master in self.masters(cluster).await? {
            let was_there = match self.topic_stats(&master.addr, topic).await {
                Err(ClientError::Refused { code: response::TOPIC_NOT_EXIST, .. }) => false,
                stats => stats.map(|_| true)?,
            };
            let command = RemotingCommand::request(request::DELETE_TOPIC_IN_BROKER).field("topic", topic);
            self.ask(&master.addr, command).await?;
            if was_there {
                had.push(master);
            }
        }
        for name_server in &self.membership.client().name_servers {
            let command = RemotingCommand::request(request::DELETE_TOPIC_IN_NAMESRV).field("topic", topic);
            let command = cluster.map_or(command.clone(), |cluster| command.field("clusterName", cluster));
            self.ask(name_server, command).await?;
        }
        Ok(had)
    }

    /// How far each queue of a topic reaches on one broker.
    pub async fn topic_stats(&self, addr: &str, topic: &str) -> Result<TopicStatsTable, ClientError> {
        let command = RemotingCommand::request(request::GET_TOPIC_STATS_INFO).field("topic", topic);
        read(&self.ask(addr, command).await?)
    }

    /// A broker's figures by name.
    pub async fn runtime_info(&self, addr: &str) -> Result<BTreeMap<String, String>, ClientError> {
        let command = RemotingCommand::request(request::GET_BROKER_RUNTIME_INFO);
        let table: KVTable = read(&self.ask(addr, command).await?)?;
        Ok(table.table)
    }

    pub async fn groups(&self, addr: &str) -> Result<Vec<SubscriptionGroupConfig>, ClientError> {
        let command = RemotingCommand::request(request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG);
        let wrapper: SubscriptionGroupWrapper = read(&self.ask(addr, command).await?)?;
        Ok(wrapper.subscription_group_table.into_values().collect())
    }

    /// Makes a consumer group on a broker, or changes it there.
    pub async fn create_group(
        &self,
        addr: &str,
        config: &SubscriptionGroupConfig,
    ) -> Result<(), ClientError> {
        validate::group(&config.group_name)?;
        let command =
            RemotingCommand::request(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP).body(config.encode());
        self.ask(addr, command).await.map(|_| ())
    }

    /// Deletes a group and its offsets on a broker. Returns whether it was there.
    pub async fn delete_group(&self, addr: &str, group: &str) -> Result<bool, ClientError> {
        let was_there = self.groups(addr).await?.iter().any(|known| known.group_name == group);
        let command = RemotingCommand::request(request::DELETE_SUBSCRIPTIONGROUP)
            .field("groupName", group)
            .field("cleanOffset", true);
        self.ask(addr, command).await.map(|_| was_there)
    }

    /// How far a group has come in each queue of one broker.
    pub async fn consume_stats(&self, addr: &str, group: &str) -> Result<ConsumeStats, ClientError> {
        let command = RemotingCommand::request(request::GET_CONSUME_STATS).field("consumerGroup", group);
        read(&self.ask(addr, command).await?)
    }

    /// Asks one process; a no is an error.
    pub async fn ask(&self, addr: &str, command: RemotingCommand) -> Result<RemotingCommand, ClientError> {
        self.begin(addr, command)?.success().await
    }

    /// Asks one process; any answer will do.
    pub(crate) async fn ask_any(
        &self,
        addr: &str,
        command: RemotingCommand,
    ) -> Result<RemotingCommand, ClientError> {
        self.begin(addr, command)?.reply().await
    }

    fn begin(&self, addr: &str, command: RemotingCommand) -> Result<Pending, ClientError> {
        let shell = self.shell()?;
        let addr: Arc<str> = Arc::from(addr);
        Ok(shell.ask(|core, token, now| {
            core.call(token, &addr, command, self.membership.client().api_timeout, now);
            Ok(())
        }))
    }

    /// Asks the name servers in turn until one answers, whatever it says.
    async fn ask_name_server(&self, command: &RemotingCommand) -> Result<RemotingCommand, ClientError> {
        let mut last = ClientError::NoNameServer;
        for name_server in &self.membership.client().name_servers {
            match self.ask(name_server, command.clone()).await {
                Err(error) if !matches!(error, ClientError::Refused { .. }) => last = error,
                answered => return answered,
            }
        }
        Err(last)
    }

    fn shell(&self) -> Result<Arc<Shell>, ClientError> {
        self.membership.shell()
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        if let Some(share) = self.membership.stop() {
            registry::leave_in_background(&share.client_id);
        }
    }
}

fn read<B: Body>(answer: &RemotingCommand) -> Result<B, ClientError> {
    B::decode(&answer.body)
        .map_err(|error| ClientError::BadAnswer { addr: "the server".to_owned(), reason: error.to_string() })
}
