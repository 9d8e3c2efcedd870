# Sourced by run: what the official mqadmin prints about our broker.

# expect NAME TEXT COMMAND...: the command's output holds the text (extended regular expression).
expect() {
  local name=$1 text=$2 out; shift 2
  out=$(mqadmin "$@") || true
  if grep --quiet --extended-regexp "$text" <<< "$out"; then pass "$name"; else
    fail "$name" "no '$text' in: $(head --bytes 600 <<< "$out")"; fi
}

mqadmin_checks() { # NAMESRV BROKER_NAME
  local ns=$1 broker=$2 address topic=IT_mqadmin out id queue offset_id
  address=$(mqadmin clusterList -n "$ns" | awk -v b="$broker" '$2 == b { print $4 }')
  expect "clusterList: name, id, address, version, active" \
    "DefaultCluster +$broker +0 +[0-9.]+:[0-9]+ +V5_5_0 .*true" clusterList -n "$ns"
  expect "clusterList -m: totals" "DefaultCluster +$broker +[0-9]+ +[0-9]+ +[0-9]+ +[0-9]+" clusterList -m -n "$ns"
  expect "updateTopic: create" "create topic to .* success" updateTopic -n "$ns" -c DefaultCluster -t "$topic" -r 6 -w 6
  expect "topicList: shows it" "^$topic\$" topicList -n "$ns"
  expect "topicRoute: six queues each way" '"readQueueNums": ?6' topicRoute -n "$ns" -t "$topic"
  expect "topicRoute: the broker's address" "$address" topicRoute -n "$ns" -t "$topic"
  expect "updateTopic: change at one broker" "create topic to $address success" updateTopic -n "$ns" -b "$address" -t "$topic" -r 8 -w 8
  expect "topicRoute: the change has arrived" '"writeQueueNums": ?8' topicRoute -n "$ns" -t "$topic"
  expect "sendMessage: stored" "SEND_OK" sendMessage -n "$ns" -t "$topic" -p hello -k thekey -c TagM
  out=$(mqadmin queryMsgByKey -n "$ns" -t "$topic" -k thekey) || true
  expect "queryMsgByKey: the message, its queue and offset" "^[0-9A-F]{32,} +[0-9]+ +0" queryMsgByKey -n "$ns" -t "$topic" -k thekey
  id=$(grep --extended-regexp --only-matching '^[0-9A-F]{32,}' <<< "$out" | head --lines 1)
  expect "queryMsgByUniqueKey: the same message" "Tags: +.*TagM" queryMsgByUniqueKey -n "$ns" -t "$topic" -i "$id"
  queue=$(awk -v id="$id" '$1 == id { print $2 }' <<< "$out")
  offset_id=$(mqadmin queryMsgByOffset -n "$ns" -t "$topic" -b "$broker" -i "$queue" -o 0 | awk '/^OffsetID:/ { print $2 }') || true
  expect "queryMsgById: the same by its place" "Keys: +.*thekey" queryMsgById -n "$ns" -t "$topic" -i "$offset_id"
  expect "queryMsgByKey: another key is not found" "query message by key finished, but no message" queryMsgByKey -n "$ns" -t "$topic" -k other
  expect "topicStatus: a queue with one message" "$broker +[0-9]+ +0 +1 " topicStatus -n "$ns" -t "$topic"
  expect "brokerStatus: version" "brokerVersionDesc +: V5_5_0" brokerStatus -n "$ns" -b "$address"
  expect "brokerStatus: every number mqadmin needs" "putTps +: [0-9.]+ [0-9.]+ [0-9.]+" brokerStatus -n "$ns" -c DefaultCluster
  expect "getBrokerConfig" "brokerName += +$broker" getBrokerConfig -n "$ns" -b "$address"
  expect "topicClusterList" "^DefaultCluster" topicClusterList -n "$ns" -t "$topic"
  expect "allocateMQ: every queue to one of two" '"queueId": ?7' allocateMQ -n "$ns" -t "$topic" -i 1.1.1.1,2.2.2.2
  expect "updateTopicPerm" "update topic perm from 6 to 4 in $address success" updateTopicPerm -n "$ns" -b "$address" -t "$topic" -p 4
  expect "updateTopicPerm: and back" "success" updateTopicPerm -n "$ns" -b "$address" -t "$topic" -p 6
  expect "updateOrderConf" "update orderConf success" updateOrderConf -n "$ns" -m put -t "$topic" -v "$broker:2"
  expect "updateKvConfig" "create or update kv config to namespace success" updateKvConfig -n "$ns" -s IT -k a -v b
  expect "deleteKvConfig" "delete kv config from namespace success" deleteKvConfig -n "$ns" -s IT -k a
  expect "wipeWritePerm" "wipe write perm of broker\[$broker\] in name server\[.*\] OK" wipeWritePerm -n "$ns" -b "$broker"
  expect "addWritePerm" "add write perm of broker\[$broker\] in name server\[.*\] OK" addWritePerm -n "$ns" -b "$broker"
  expect "getNamesrvConfig" "listenPort += +${ns#*:}" getNamesrvConfig -n "$ns"
  expect "updateSubGroup" "create subscription group to .* success" updateSubGroup -n "$ns" -c DefaultCluster -g IT_group
  expect "getConsumerConfig" "groupName += +IT_group" getConsumerConfig -n "$ns" -g IT_group
  expect "deleteSubGroup" "delete subscription group \[IT_group\] from broker .* success" deleteSubGroup -n "$ns" -c DefaultCluster -g IT_group
  expect "sendMsgStatus" "SEND_OK" sendMsgStatus -n "$ns" -b "$broker" -s 64 -c 2
  expect "checkMsgSendRT" "Avg RT" checkMsgSendRT -n "$ns" -t "$topic" -a 3 -s 64
  expect "topicList: after deleteTopic" "delete topic \[$topic\] from NameServer success" deleteTopic -n "$ns" -c DefaultCluster -t "$topic"
}
