# Sourced by run: what the official mqadmin prints about our broker.

# expect NAME TEXT COMMAND...: the command's output holds the text (extended regular expression).
expect() {
  local name=$1 text=$2 out; shift 2
  out=$(mqadmin "$@") || true
  judge "$name" "$text" "$out"
}

# The same, asked again until it holds: a client tells its offsets by and by.
expect_soon() {
  local text=$2 until=$((SECONDS + 20))
  while [ "$SECONDS" -lt "$until" ] && ! { mqadmin "${@:3}" || true; } | grep --quiet --extended-regexp "$text"; do sleep 0.5; done
  expect "$@"
}

# judge NAME TEXT OUTPUT
judge() {
  if grep --quiet --extended-regexp "$2" <<< "$3"; then pass "$1"; else
    fail "$1" "no '$2' in: $(head --bytes 600 <<< "$3")"; fi
}

mqadmin_checks() { # NAMESRV BROKER_NAME
  local ns=$1 broker=$2 address topic=IT_mqadmin
  address=$(mqadmin clusterList -n "$ns" | awk -v b="$broker" '$2 == b { print $4 }')
  mqadmin_cluster "$ns" "$broker"
  mqadmin_topics "$ns" "$broker" "$address" "$topic"
  mqadmin_messages "$ns" "$broker" "$address" "$topic"
  mqadmin_groups "$ns" "$broker" "$address"
  mqadmin_endless "$ns" "$topic"
  expect "deleteTopic" "delete topic \[$topic\] from NameServer success" deleteTopic -n "$ns" -c DefaultCluster -t "$topic"
}

mqadmin_cluster() { # NAMESRV BROKER_NAME
  local ns=$1 broker=$2 out
  out=$(mqadmin_alone 60 clusterList -n "$ns") || true
  judge "clusterList: name, id, address, version, active" "DefaultCluster +$broker +0 +[0-9.]+:[0-9]+ +V5_5_0 .*true" "$out"
  expect "clusterList -m: totals" "DefaultCluster +$broker +[0-9]+ +[0-9]+ +[0-9]+ +[0-9]+" clusterList -m -n "$ns"
  expect "updateKvConfig" "create or update kv config to namespace success" updateKvConfig -n "$ns" -s IT -k a -v b
  expect "deleteKvConfig" "delete kv config from namespace success" deleteKvConfig -n "$ns" -s IT -k a
  expect "wipeWritePerm" "wipe write perm of broker\[$broker\] in name server\[.*\] OK" wipeWritePerm -n "$ns" -b "$broker"
  expect "addWritePerm" "add write perm of broker\[$broker\] in name server\[.*\] OK" addWritePerm -n "$ns" -b "$broker"
  expect "getNamesrvConfig" "listenPort += +${ns#*:}" getNamesrvConfig -n "$ns"
}

mqadmin_topics() { # NAMESRV BROKER_NAME BROKER_ADDRESS TOPIC
  local ns=$1 broker=$2 address=$3 topic=$4
  expect "updateTopic: create" "create topic to .* success" updateTopic -n "$ns" -c DefaultCluster -t "$topic" -r 6 -w 6
  expect "topicList: shows it" "^$topic\$" topicList -n "$ns"
  expect "topicRoute: six queues each way" '"readQueueNums": ?6' topicRoute -n "$ns" -t "$topic"
  expect "topicRoute: the broker's address" "$address" topicRoute -n "$ns" -t "$topic"
  expect "updateTopic: change at one broker" "create topic to $address success" updateTopic -n "$ns" -b "$address" -t "$topic" -r 8 -w 8
  expect "topicRoute: the change has arrived" '"writeQueueNums": ?8' topicRoute -n "$ns" -t "$topic"
  expect "topicClusterList" "^DefaultCluster" topicClusterList -n "$ns" -t "$topic"
  expect "allocateMQ: every queue to one of two" '"queueId": ?7' allocateMQ -n "$ns" -t "$topic" -i 1.1.1.1,2.2.2.2
  expect "updateTopicPerm" "update topic perm from 6 to 4 in $address success" updateTopicPerm -n "$ns" -b "$address" -t "$topic" -p 4
  expect "updateTopicPerm: and back" "success" updateTopicPerm -n "$ns" -b "$address" -t "$topic" -p 6
  expect "updateOrderConf" "update orderConf success" updateOrderConf -n "$ns" -m put -t "$topic" -v "$broker:2"
  printf '[{"topicName":"IT_list1","readQueueNums":3,"writeQueueNums":3,"perm":6},{"topicName":"IT_list2"}]' > "$work/topics.json"
  expect "updateTopicList" "submit batch of topic config to .* success" updateTopicList -n "$ns" -c DefaultCluster -f "$work/topics.json"
  expect "topicRoute: of a topic of the list" '"writeQueueNums": ?3' topicRoute -n "$ns" -t IT_list1
}

mqadmin_messages() { # NAMESRV BROKER_NAME BROKER_ADDRESS TOPIC
  local ns=$1 broker=$2 address=$3 topic=$4 id
  expect "sendMessage: stored" "$broker +2 +SEND_OK" sendMessage -n "$ns" -t "$topic" -p hello -k thekey -c TagM -b "$broker" -i 2
  expect "topicStatus: a queue with one message" "$broker +2 +0 +1 " topicStatus -n "$ns" -t "$topic"
  expect "queryMsgByOffset: tag and key" "Keys: +\[thekey\]" queryMsgByOffset -n "$ns" -t "$topic" -b "$broker" -i 2 -o 0
  id=$(mqadmin queryMsgByOffset -n "$ns" -t "$topic" -b "$broker" -i 2 -o 0 | awk '$1 == "OffsetID:" { print $2 }')
  expect "queryMsgById" "Keys: +\[thekey\]" queryMsgById -n "$ns" -t "$topic" -i "$id"
  expect "queryMsgByKey: the message, its queue and offset" "^[0-9A-F]{32,} +2 +0" queryMsgByKey -n "$ns" -t "$topic" -k thekey
  id=$(mqadmin queryMsgByKey -n "$ns" -t "$topic" -k thekey | grep --extended-regexp --only-matching '^[0-9A-F]{32,}' | head --lines 1) || true
  expect "queryMsgByUniqueKey: the same message" "Tags: +.*TagM" queryMsgByUniqueKey -n "$ns" -t "$topic" -i "$id"
  expect "queryMsgByKey: another key is not found" "query message by key finished, but no message" queryMsgByKey -n "$ns" -t "$topic" -k other
  expect "queryCq" "physicSize=[0-9]+, tagsCode=2598931," queryCq -n "$ns" -t "$topic" -q 2 -i 0 -c 1 -b "$address"
  expect "consumeMessage" "BODY: hello" consumeMessage -n "$ns" -t "$topic" -b "$broker" -i 2 -o 0 -c 1
  expect "printMsgByQueue: the message, counted by tag" "Tag: TagM +Count: 1" \
    printMsgByQueue -n "$ns" -t "$topic" -a "$broker" -i 2 -p true -d true -f true
  expect "sendMsgStatus" "SEND_OK" sendMsgStatus -n "$ns" -b "$broker" -s 64 -c 2
  expect "checkMsgSendRT" "Avg RT" checkMsgSendRT -n "$ns" -t "$topic" -a 3 -s 64
  expect "brokerStatus: version" "brokerVersionDesc +: V5_5_0" brokerStatus -n "$ns" -b "$address"
  expect "brokerStatus: every number mqadmin needs" "putTps +: [0-9.]+ [0-9.]+ [0-9.]+" brokerStatus -n "$ns" -c DefaultCluster
  expect "getBrokerConfig" "brokerName += +$broker" getBrokerConfig -n "$ns" -b "$address"
  expect "updateBrokerConfig" "update broker config success, $address" updateBrokerConfig -n "$ns" -b "$address" -k longPollingEnable -v true
  expect "cleanExpiredCQ" "^success" cleanExpiredCQ -n "$ns" -b "$address"
  expect "cleanUnusedTopic" "^success" cleanUnusedTopic -n "$ns" -c DefaultCluster
  expect "deleteExpiredCommitLog" "^success" deleteExpiredCommitLog -n "$ns" -b "$address"
  mqadmin exportMetadata -n "$ns" -c DefaultCluster -f "$work/export" > /dev/null || true
  judge "exportMetadata: topic and queues" '"writeQueueNums": ?8' "$(grep --after-context 12 "\"$topic\"" "$work/export/metadata.json")"
  mqadmin exportConfigs -n "$ns" -c DefaultCluster -f "$work/export" > /dev/null || true
  judge "exportConfigs: the broker's" "\"brokerName\": ?\"$broker\"" "$(cat "$work/export/configs.json")"
  judge "exportConfigs: no key is missing" '"useTLS": ?"false"' "$(cat "$work/export/configs.json")"
  mqadmin exportMetrics -n "$ns" -c DefaultCluster -f "$work/export" > /dev/null || true
  judge "exportMetrics: version and size" '"rocketmqVersion": ?"V5_5_0"' "$(cat "$work/export/metrics.json")"
  expect "haStatus" "#MasterAddr.*$address" haStatus -n "$ns" -b "$address"
}

mqadmin_groups() { # NAMESRV BROKER_NAME BROKER_ADDRESS
  local ns=$1 broker=$2 address=$3 topic=IT_attended group=IT_attendant out id
  expect "updateSubGroup" "create subscription group to .* success" updateSubGroup -n "$ns" -c DefaultCluster -g IT_group
  expect "getConsumerConfig" "groupName += +IT_group" getConsumerConfig -n "$ns" -g IT_group
  printf '[{"groupName":"IT_list1","retryMaxTimes":3},{"groupName":"IT_list2"}]' > "$work/groups.json"
  expect "updateSubGroupList" "submit batch of subscription group config to .* success" \
    updateSubGroupList -n "$ns" -c DefaultCluster -f "$work/groups.json"
  expect "getConsumerConfig: of a group of the list" "retryMaxTimes += +3" getConsumerConfig -n "$ns" -g IT_list1
  mqadmin updateTopic -n "$ns" -c DefaultCluster -t "$topic" -r 4 -w 4 > /dev/null || true
  out=$(mqadmin attend "$ns" "$topic" "$group" 12) || true
  judge "a client comes on line" "^12 attended" "$out"
  id=$(awk '$1 == "sent" { print $2; exit }' <<< "$out")
  expect "consumerConnection: client and version" "attendant +[0-9.:]+ +JAVA +V5_5_0" consumerConnection -n "$ns" -g "$group"
  expect "consumerConnection: subscription" "^$topic +\*" consumerConnection -n "$ns" -g "$group"
  expect "queryCq: the group's subscription" '"subString": ?"\*"' queryCq -n "$ns" -t "$topic" -q 0 -i 0 -c 1 -b "$address" -g "$group"
  expect "queryCq: a group that is off line" "IT_group@$topic is not online!" queryCq -n "$ns" -t "$topic" -q 0 -i 0 -c 1 -b "$address" -g IT_group
  expect "consumerStatus" "^Rebalance OK" consumerStatus -n "$ns" -g "$group"
  expect "producerConnection" "attendant +[0-9.:]+ +JAVA +V5_5_0" producerConnection -n "$ns" -g "$group" -t "$topic"
  expect "producer" "producer group \($group\) instance : clientId=.*attendant" producer -n "$ns" -b "$address"
  expect_soon "consumerProgress" "^$topic +$broker +3 +3 " consumerProgress -n "$ns" -g "$group"
  expect "brokerConsumeStats" "^$topic +$group +$broker +3 +3 " brokerConsumeStats -n "$ns" -b "$address"
  expect "resetOffsetByTime: on line" "^$broker +3 +0 " resetOffsetByTime -n "$ns" -g "$group" -t "$topic" -s 1000000000000
  expect "resetOffsetByTime: all comes again" "^24 attended" attended 24
  expect "skipAccumulatedMessage" "^$broker +3 +3 " skipAccumulatedMessage -n "$ns" -g "$group" -t "$topic"
  expect "cloneGroupOffset" "clone group offset success. srcGroup\[$group\], destGroup=\[IT_group\]" \
    cloneGroupOffset -n "$ns" -s "$group" -d IT_group -t "$topic"
  expect "resetOffsetByTime: off line" "^$broker +3 +3 " resetOffsetByTime -n "$ns" -g IT_group -t "$topic" -s now
  expect "resetOffsetByTime: one queue to an offset" "reset consumer offset to 1" \
    resetOffsetByTime -n "$ns" -g IT_group -t "$topic" -s now -b "$address" -q 3 -o 1
  expect "consumerProgress: that queue" "^$topic +$broker +3 +3 +1 +2 " consumerProgress -n "$ns" -g IT_group -t "$topic"
  expect_soon "queryMsgTraceById: who sent it" "^Pub +$group .*success" queryMsgTraceById -n "$ns" -i "${id:-none}"
  expect "deleteSubGroup" "delete subscription group \[IT_group\] from broker .* success" deleteSubGroup -n "$ns" -c DefaultCluster -g IT_group
}

# Those that have to end by themselves, or never do, in a JVM of their own.
mqadmin_endless() { # NAMESRV TOPIC
  local ns=$1 topic=$2 out
  out=$(mqadmin_alone 60 printMsg -n "$ns" -t "$topic" -d true && echo "and ended") || true
  judge "printMsg: the message that was sent" "BODY: hello" "$out"
  judge "printMsg: comes to its end" "^and ended" "$out"
  out=$(mqadmin_alone 8 clusterRT -n "$ns" -a 3 -i 1) || true
  judge "clusterRT, until it is stopped" "DefaultCluster +[^ ]+ +[0-9.]+ +3 +0" "$out"
}
