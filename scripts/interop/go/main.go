// The official Go client against a name server: interop NAMESRV TITLE [MESSAGES].
// Every scenario uses topics and groups of its own, so that a run can be repeated on the same broker.
package main

import (
	"context"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"
)

const queues = 4 // What an auto-created topic gets.

type interop struct {
	namesrv  []string
	run      string
	messages int
	producer rocketmq.Producer
	passed   int
	failed   int
}

func main() {
	rlog.SetLogLevel("error")
	it := &interop{
		namesrv:  []string{os.Args[1]},
		run:      strconv.FormatInt(time.Now().UnixMilli()%100_000_000, 36),
		messages: 20_000,
	}
	if len(os.Args) > 3 {
		it.messages, _ = strconv.Atoi(os.Args[3])
	}
	var err error
	it.producer, err = rocketmq.NewProducer(producer.WithNameServer(it.namesrv), producer.WithGroupName("PG_go_"+it.run),
		producer.WithRetry(2), producer.WithSendMsgTimeout(10*time.Second), producer.WithQueueSelector(&byShard{}))
	must(err)
	must(it.producer.Start())
	it.scenario("send sync, keys, tags, properties", it.sendSync)
	it.scenario("send async: every callback, every offset once", it.sendAsync)
	it.scenario("send one-way: all arrive", it.sendOneway)
	it.scenario("send batch", it.sendBatch)
	it.scenario("tags: only the subscribed ones", it.tags)
	it.scenario("push broadcasting: everyone gets everything", it.broadcasting)
	it.scenario("pull", it.pull)
	it.scenario("rebalance: two consumers share, one takes over", it.rebalance)
	it.scenario("restart: a group goes on where it stopped", it.restart)
	it.scenario("delay level 1: delivered after 1 s", it.delay)
	it.scenario(fmt.Sprintf("%d messages: none lost, none doubled, in order", it.messages), it.volume)
	_ = it.producer.Shutdown()
	fmt.Printf("%s: %d passed, %d failed\n", os.Args[2], it.passed, it.failed)
	if it.failed > 0 {
		os.Exit(1)
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// byShard puts a message with a sharding key into queue key mod n, the others round robin.
type byShard struct{ next atomic.Int64 }

func (s *byShard) Select(message *primitive.Message, all []*primitive.MessageQueue, _ string) *primitive.MessageQueue {
	sort.Slice(all, func(i, j int) bool { return all[i].QueueId < all[j].QueueId })
	if key := message.GetShardingKey(); key != "" {
		n, _ := strconv.Atoi(key)
		return all[n%len(all)]
	}
	return all[int(s.next.Add(1))%len(all)]
}

func (it *interop) scenario(name string, body func()) {
	start := time.Now()
	defer func() {
		if problem := recover(); problem != nil {
			it.failed++
			fmt.Printf("  FAILED  %-46s %v\n", name, problem)
			return
		}
		it.passed++
		fmt.Printf("  ok      %-46s %6d ms\n", name, time.Since(start).Milliseconds())
	}()
	body()
}

func (it *interop) topic(name string) string { return "GT_" + name + "_" + it.run }
func (it *interop) group(name string) string { return "GG_" + name + "_" + it.run }

func await(limit time.Duration, condition func() bool, state func() string) {
	deadline := time.Now().Add(limit)
	for !condition() {
		if time.Now().After(deadline) {
			panic(fmt.Sprintf("not within %v: %s", limit, state()))
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func check(holds bool, format string, values ...any) {
	if !holds {
		panic(fmt.Sprintf(format, values...))
	}
}

func (it *interop) send(topic, tag, body string) *primitive.SendResult {
	message := primitive.NewMessage(topic, []byte(body)).WithTag(tag)
	result, err := it.producer.SendSync(context.Background(), message)
	must(err)
	return result
}

// bag collects deliveries: which body came how often.
type bag struct {
	sync.Mutex
	times map[string]int
	total int
	all   []*primitive.MessageExt
}

func newBag() *bag { return &bag{times: map[string]int{}} }

func (b *bag) add(message *primitive.MessageExt) {
	b.Lock()
	defer b.Unlock()
	b.times[string(message.Body)]++
	b.total++
	b.all = append(b.all, message)
}

func (b *bag) distinct() int {
	b.Lock()
	defer b.Unlock()
	return len(b.times)
}

func (b *bag) count() int {
	b.Lock()
	defer b.Unlock()
	return b.total
}

func (it *interop) push(group, instance, topic, tags string, each func(*primitive.MessageExt), more ...consumer.Option) rocketmq.PushConsumer {
	options := append([]consumer.Option{consumer.WithNameServer(it.namesrv), consumer.WithGroupName(group),
		consumer.WithInstance(instance + it.run), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset)}, more...)
	made, err := rocketmq.NewPushConsumer(options...)
	must(err)
	selector := consumer.MessageSelector{Type: consumer.TAG, Expression: tags}
	must(made.Subscribe(topic, selector, func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for _, message := range messages {
			each(message)
		}
		return consumer.ConsumeSuccess, nil
	}))
	must(made.Start())
	return made
}

func (it *interop) expect(name, tags string, want int) *bag {
	got := newBag()
	running := it.push(it.group(name), name, it.topic(name), tags, got.add)
	defer func() { _ = running.Shutdown() }()
	await(60*time.Second, func() bool { return got.count() >= want }, func() string { return fmt.Sprintf("%d of %d", got.count(), want) })
	time.Sleep(time.Second) // For doubles to show, and for the last callbacks to count as done before the shutdown.
	check(got.count() == want && got.distinct() == want, "%d deliveries of %d messages, %d expected", got.count(), got.distinct(), want)
	return got
}

func (it *interop) sendSync() {
	topic := it.topic("sync")
	for i := 0; i < 100; i++ {
		message := primitive.NewMessage(topic, []byte(fmt.Sprintf("body %d 中文", i))).WithTag("TagA").WithKeys([]string{fmt.Sprintf("key%d", i)})
		message.WithProperty("colour", fmt.Sprintf("blü \"%d\"", i))
		result, err := it.producer.SendSync(context.Background(), message)
		must(err)
		check(result.Status == primitive.SendOK, "status %v", result.Status)
	}
	for _, message := range it.expect("sync", "*", 100).all {
		i := strings.Fields(string(message.Body))[1]
		check(message.GetTags() == "TagA", "tag %q", message.GetTags())
		check(message.GetKeys() == "key"+i, "keys %q", message.GetKeys())
		check(message.GetProperty("colour") == "blü \""+i+"\"", "property %q", message.GetProperty("colour"))
	}
}

func (it *interop) sendAsync() {
	topic := it.topic("async")
	it.send(topic, "A", "first")
	var done sync.WaitGroup
	var places sync.Map
	var distinct atomic.Int64
	for i := 0; i < 2000; i++ {
		done.Add(1)
		must(it.producer.SendAsync(context.Background(), func(_ context.Context, result *primitive.SendResult, err error) {
			defer done.Done()
			if err == nil {
				if _, seen := places.LoadOrStore(fmt.Sprint(result.MessageQueue.QueueId, "@", result.QueueOffset), true); !seen {
					distinct.Add(1)
				}
			}
		}, primitive.NewMessage(topic, []byte(fmt.Sprint("async ", i)))))
	}
	done.Wait()
	check(distinct.Load() == 2000, "%d distinct places of 2000", distinct.Load())
}

func (it *interop) sendOneway() {
	topic := it.topic("oneway")
	it.send(topic, "A", "first")
	for i := 0; i < 500; i++ {
		must(it.producer.SendOneWay(context.Background(), primitive.NewMessage(topic, []byte(fmt.Sprint("oneway ", i)))))
	}
	it.expect("oneway", "*", 501)
}

func (it *interop) sendBatch() {
	topic := it.topic("batch")
	it.send(topic, "A", "first")
	for round := 0; round < 10; round++ {
		var batch []*primitive.Message
		for i := 0; i < 32; i++ {
			batch = append(batch, primitive.NewMessage(topic, []byte(fmt.Sprintf("batch %d %d", round, i))).WithTag("T"))
		}
		result, err := it.producer.SendSync(context.Background(), batch...)
		must(err)
		check(result.Status == primitive.SendOK, "status %v", result.Status)
	}
	it.expect("batch", "*", 321)
}

func (it *interop) tags() {
	topic := it.topic("tags")
	for i := 0; i < 90; i++ {
		it.send(topic, "Tag"+string(rune('A'+i%3)), fmt.Sprint("t", i))
	}
	for _, message := range it.expect("tags", "TagA || TagC", 60).all {
		check(message.GetTags() != "TagB", "a tag that was not asked for")
	}
}

func (it *interop) broadcasting() {
	topic := it.topic("broadcast")
	it.send(topic, "A", "before")
	var got [2]*bag
	for i := range got {
		got[i] = newBag()
		running := it.push(it.group("broadcast"), fmt.Sprint("broadcast", i), topic, "*", got[i].add, consumer.WithConsumerModel(consumer.BroadCasting))
		defer func() { _ = running.Shutdown() }()
	}
	await(60*time.Second, func() bool { return got[0].count() == 1 && got[1].count() == 1 }, func() string { return "the first message" })
	for i := 0; i < 200; i++ {
		it.send(topic, "A", fmt.Sprint("b", i))
	}
	await(60*time.Second, func() bool { return got[0].distinct() == 201 && got[1].distinct() == 201 },
		func() string { return fmt.Sprint(got[0].distinct(), " and ", got[1].distinct(), " of 201") })
}

func (it *interop) pull() {
	topic := it.topic("pull")
	for i := 0; i < 100; i++ {
		it.send(topic, "A", fmt.Sprint("p", i))
	}
	made, err := rocketmq.NewPullConsumer(consumer.WithNameServer(it.namesrv), consumer.WithGroupName(it.group("pull")),
		consumer.WithInstance("pull"+it.run), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	must(err)
	must(made.Subscribe(topic, consumer.MessageSelector{Type: consumer.TAG, Expression: "*"}))
	must(made.Start())
	defer func() { _ = made.Shutdown() }()
	got := newBag()
	deadline := time.Now().Add(60 * time.Second)
	for got.distinct() < 100 && time.Now().Before(deadline) {
		found, err := made.Poll(context.Background(), time.Second)
		if err != nil {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		for _, message := range found.GetMsgList() {
			got.add(message)
		}
		made.ACK(context.Background(), found, consumer.ConsumeSuccess)
	}
	check(got.distinct() == 100, "%d of 100", got.distinct())
}

func (it *interop) rebalance() {
	topic := it.topic("rebalance")
	it.send(topic, "A", "0")
	got := newBag()
	var mine [2]*bag
	var running [2]rocketmq.PushConsumer
	for i := range running {
		mine[i] = newBag()
		running[i] = it.push(it.group("rebalance"), fmt.Sprint("rebalance", i), topic, "*", func(m *primitive.MessageExt) {
			got.add(m)
			mine[i].add(m)
		})
	}
	next := 1
	await(60*time.Second, func() bool { // Until both get something: the Go client shares the queues at its next round.
		for end := next + 8; next < end; next++ {
			it.send(topic, "A", fmt.Sprint(next))
		}
		time.Sleep(200 * time.Millisecond)
		return mine[0].count() > 0 && mine[1].count() > 0
	}, func() string { return fmt.Sprint(mine[0].count(), " and ", mine[1].count()) })
	must(running[0].Shutdown())
	for end := next + 200; next < end; next++ {
		it.send(topic, "A", fmt.Sprint(next))
	}
	await(60*time.Second, func() bool { return got.distinct() == next }, func() string { return fmt.Sprint(got.distinct(), " of ", next) })
	_ = running[1].Shutdown()
}

func (it *interop) restart() {
	topic := it.topic("restart")
	for i := 0; i < 300; i++ {
		it.send(topic, "A", fmt.Sprint(i))
	}
	first := it.expect("restart", "*", 300)
	for i := 300; i < 600; i++ {
		it.send(topic, "A", fmt.Sprint(i))
	}
	for _, message := range it.expect("restart", "*", 300).all {
		check(first.times[string(message.Body)] == 0, "%s came twice", message.Body)
	}
}

func (it *interop) delay() {
	topic := it.topic("delay")
	start := time.Now()
	message := primitive.NewMessage(topic, []byte("late"))
	message.WithDelayTimeLevel(1)
	_, err := it.producer.SendSync(context.Background(), message)
	must(err)
	it.expect("delay", "*", 1)
	check(time.Since(start) >= 950*time.Millisecond, "came after %v", time.Since(start))
}

func (it *interop) volume() {
	topic := it.topic("volume")
	it.send(topic, "A", "warm")
	each := it.messages / queues
	var next [queues]int
	var mutex sync.Mutex
	problem := ""
	ordered := 0
	loose := newBag()
	inOrder := it.push(it.group("volumeO"), "volumeO", topic, "*", func(m *primitive.MessageExt) {
		parts := strings.Split(string(m.Body), ":")
		if len(parts) != 2 {
			return
		}
		mutex.Lock()
		defer mutex.Unlock()
		queue, _ := strconv.Atoi(parts[0])
		number, _ := strconv.Atoi(parts[1])
		if number != next[queue] || m.Queue.QueueId != queue {
			problem = fmt.Sprintf("queue %d: expected %d, got %s in queue %d", queue, next[queue], m.Body, m.Queue.QueueId)
		}
		next[queue] = number + 1
		ordered++
	}, consumer.WithConsumerOrder(true))
	concurrent := it.push(it.group("volumeC"), "volumeC", topic, "*", loose.add)
	var senders sync.WaitGroup
	for queue := 0; queue < queues; queue++ {
		senders.Add(1)
		go func() {
			defer senders.Done()
			for i := 0; i < each; i++ {
				message := primitive.NewMessage(topic, []byte(fmt.Sprintf("%d:%d", queue, i)))
				message.WithShardingKey(strconv.Itoa(queue))
				if _, err := it.producer.SendSync(context.Background(), message); err != nil {
					mutex.Lock()
					problem = err.Error()
					mutex.Unlock()
					return
				}
			}
		}()
	}
	senders.Wait()
	want := each * queues
	seen := func() int { mutex.Lock(); defer mutex.Unlock(); return ordered }
	await(120*time.Second, func() bool { return seen() >= want && loose.count() >= want+1 },
		func() string { return fmt.Sprint(seen(), " in order and ", loose.count(), " concurrently of ", want, "; ", problem) })
	time.Sleep(500 * time.Millisecond)
	_ = inOrder.Shutdown()
	_ = concurrent.Shutdown()
	check(problem == "", "%s", problem)
	check(loose.count() == want+1 && loose.distinct() == want+1, "%d deliveries of %d messages, %d expected", loose.count(), loose.distinct(), want+1)
	check(seen() == want, "%d in order of %d", seen(), want)
}
