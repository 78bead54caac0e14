//! Every sum notices what the code leaves out.

use super::*;

/// A history with every class of obligation and receipt but what only a memory cap brings; the sums over it.
fn everything() -> Result<(), SumError> {
    let mut story = gone_and_back();
    story.promise.unacked = vec![8];
    story.receive([4, 10, 10, 11]);
    story.publish(3);
    let other = Token { run: 2, ..story.token(0) };
    story.receive_token(other);
    for found in [Found::Broken, Found::Damaged(story.token(12))] {
        story.ledger.count_receipt(0, 0);
        story.ledger.receive(0, &found, 0, 0);
    }
    story.ledger.count_receipt(0, 0);
    let late = story.token(14);
    story.ledger.receive(0, &Found::Intact(late), late.due_ns + DEADLINE_NS + 1, 0);
    let probe = Token { channel: 1, kind: Kind::Probe, ..story.token(0) };
    story.ledger.count_receipt(0, 0);
    story.ledger.receive_stray(0, &probe, 0, 0, Receipt::Misrouted);
    story.publish(1).ack(15);
    story.ledger.end(0, End::Cut);
    story.ledger.subscribed(0);
    story.ledger.confirm(0);
    story.publish(1);
    story.ledger.quiet_passed();
    story.ledger.end(0, End::Unsubscribed);
    story.publish(1).receive([17]);
    story.ledger.unsubscribe_answered(0);
    story.publish(1).receive([18]);
    let Story { ledger, obligations, promise, .. } = story;
    let totals = ledger.close(&promise);
    sums(&totals.all(), totals.receipts(), obligations)
}

#[test]
fn every_increment_that_the_code_leaves_out_is_noticed_by_its_sum() {
    assert_eq!(everything(), Ok(()));
    let mut slipped = BTreeSet::new();
    for n in 0.. {
        let (result, counter) = slip::without(n, everything);
        let Some(counter) = counter else { break };
        slipped.insert(counter);
        let noticed = match counter {
            "obligations" => matches!(result, Err(SumError::Obligations { .. })),
            "decoded" => matches!(result, Err(SumError::Receipts { .. })),
            "unowed" => matches!(result, Err(SumError::First { .. })),
            class if Class::ALL.iter().any(|one| one.name() == class) => {
                matches!(result, Err(SumError::Obligations { .. }))
            }
            _ => matches!(result, Err(SumError::Receipts { .. })),
        };
        assert!(noticed, "{counter} (increment {n}): {result:?}");
    }
    let classes = Class::ALL.iter().map(|class| class.name()).filter(|name| *name != "unverified");
    let receipts = ReceiptClass::ALL.iter().map(|class| class.name()).filter(|n| *n != "unverified_receipt");
    let all = classes.chain(receipts).chain(["obligations", "decoded", "unowed"]);
    assert_eq!(slipped, all.collect::<BTreeSet<_>>());
}

/// A server that forgot the subscription before our cut: what had long been acknowledged by then the cut did not hold
/// back, and what was in flight, it may have.
#[test]
fn a_cut_excuses_what_was_on_its_way_and_nothing_older() {
    let mut story = Story::live();
    story.publish(3).ack(0).ack(1).ack(2);
    story.roster.remember();
    story.publish(1).ack(3);
    story.roster.remember();
    story.publish(1);
    story.ledger.end(0, End::Cut);
    story.ledger.leave(0);
    story.ack(4);
    let all = story.ledger.close(&story.promise).all();
    assert_eq!((all.of(Class::Indeterminate), all.of(Class::Suppressed)), (4, 1));
    assert_eq!(all.excused, 1, "the one that was not acknowledged when we cut");
}
