use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn terms() -> Terms {
    Terms::new(SECOND * 35, SECOND * 30).unwrap()
}

/// A moment by the clock of an instance; the wall clocks of others are of no interest.
fn at(seconds: u64) -> Moment {
    Moment { clock: SECOND * u32::try_from(seconds).unwrap(), wall: Timestamp::UNIX_EPOCH }
}

/// `beat` stands for the time at which the holder says that it has renewed: any value, as its clock is its own.
fn held(holder: &str, transitions: i32, beat: i64) -> Record {
    let renewed = Timestamp::from_second(beat).ok();
    Record { holder: holder.to_owned(), seconds: 35, transitions, acquired: None, renewed }
}

fn me() -> Candidate {
    Candidate::new("me".to_owned(), terms())
}

/// Leads since second 0, with these transitions.
fn leader(transitions: i32) -> Candidate {
    let mut candidate = me();
    candidate.wrote(held("me", transitions, 0), Duration::ZERO);
    candidate
}

/// Holder and transitions of what is to be written.
fn written(step: Step) -> Option<(String, i32)> {
    match step {
        Step::Write(record) => Some((record.holder, record.transitions)),
        Step::Wait => None,
    }
}

#[test]
fn names_of_leases() {
    // (§4 selector, name)
    let rows = [
        ("", "source-watcher-leader-election"),
        ("sharding.fluxcd.io/key=shard1", "source-watcher-leader-election-73fdc1be"),
        ("sharding.fluxcd.io/shard=shard1", "source-watcher-leader-election-0861495d"),
    ];
    for (selector, name) in rows {
        assert_eq!(lease_name(selector), name, "{selector}");
    }
}

#[test]
fn terms_that_do_not_go_together() {
    let milliseconds = Duration::from_millis;
    // (row, lease, renew, part of the error)
    let rows = [
        ("the defaults", 35_000, 30_000, None),
        ("the shortest", 3_000, 2_401, None),
        (
            "a lease that ends with the deadline",
            30_000,
            30_000,
            Some("longer than --leader-election-renew-deadline (30s)"),
        ),
        ("parts of a second do not count", 30_900, 30_000, Some("--leader-election-renew-deadline")),
        ("one try", 35_000, 2_400, Some("longer than 2.4s")),
        ("no time", 35_000, 0, Some("longer than 2.4s")),
        ("ages", u64::MAX, 30_000, Some("at most")),
    ];
    for (row, lease, renew, error) in rows {
        let found = Terms::new(milliseconds(lease), milliseconds(renew)).map(drop).map_err(|error| error.to_string());
        match error {
            None => assert_eq!(found, Ok(()), "row {row}"),
            Some(part) => assert!(found.clone().is_err_and(|text| text.contains(part)), "row {row}: {found:?}"),
        }
    }
}

/// One look at a Lease by an instance that has never seen it.
#[test]
fn first_looks() {
    let mine = |transitions| Some(("me".to_owned(), transitions));
    // (row, what is found, what is written)
    let rows = [
        ("no Lease", None, mine(0)),
        ("given back", Some(held("", 4, 9)), mine(5)),
        ("given back by somebody who never counted", Some(Record::default()), mine(1)),
        ("held: however old it says it is", Some(held("other", 4, -1_000_000)), None),
        ("held: however new it says it is", Some(held("other", 4, 1_000_000)), None),
        ("held without a duration", Some(Record { seconds: 0, ..held("other", 4, 0) }), None),
        ("held by this very instance: the answer to its write was lost", Some(held("me", 4, 0)), mine(4)),
        ("counted as far as it goes", Some(held("", i32::MAX, 0)), mine(i32::MAX)),
    ];
    for (row, found, expected) in rows {
        assert_eq!(written(me().look(found, at(1000))), expected, "row {row}");
    }
}

#[test]
fn a_lease_is_taken_when_it_was_not_renewed_for_as_long_as_its_holder_asked_for() {
    // (row, what was seen and when, whether it is taken at the last look)
    let rows = [
        ("not yet", vec![(100, held("a", 0, 7)), (134, held("a", 0, 7))], false),
        ("over", vec![(100, held("a", 0, 7)), (135, held("a", 0, 7))], true),
        ("renewed in between", vec![(100, held("a", 0, 7)), (134, held("a", 0, 8)), (168, held("a", 0, 8))], false),
        ("over after that", vec![(100, held("a", 0, 7)), (134, held("a", 0, 8)), (169, held("a", 0, 8))], true),
        ("a clock that goes back is a sign of life", vec![(100, held("a", 0, 7)), (135, held("a", 0, 6))], false),
        ("another holder", vec![(100, held("a", 0, 7)), (135, held("b", 1, 7))], false),
        (
            "a holder who asked for less",
            vec![(100, Record { seconds: 5, ..held("a", 0, 7) }), (105, Record { seconds: 5, ..held("a", 0, 7) })],
            true,
        ),
        (
            "a holder who asked for more",
            vec![(100, Record { seconds: 60, ..held("a", 0, 7) }), (159, Record { seconds: 60, ..held("a", 0, 7) })],
            false,
        ),
        (
            "a holder who did not say",
            vec![(100, Record { seconds: 0, ..held("a", 0, 7) }), (134, Record { seconds: 0, ..held("a", 0, 7) })],
            false,
        ),
    ];
    for (row, looks, taken) in rows {
        let mut candidate = me();
        let mut last = None;
        for (second, record) in looks {
            let transitions = record.transitions;
            last = written(candidate.look(Some(record), at(second))).map(|found| (found, transitions));
        }
        let expected = last.as_ref().filter(|_| taken).map(|(_, before)| (("me".to_owned(), before + 1), *before));
        assert_eq!((last.is_some(), last), (taken, expected), "row {row}");
    }
}

#[test]
fn a_leader_renews_until_somebody_else_is_seen() {
    let mut candidate = leader(3);
    assert_eq!(candidate.standing(SECOND * 2), Standing::Leading { epoch: 3 });
    let renewal = candidate.renewal(at(2)).unwrap();
    assert_eq!((renewal.holder.as_str(), renewal.transitions, renewal.seconds), ("me", 3, 35));
    candidate.wrote(renewal, SECOND * 2);
    assert_eq!(written(candidate.look(None, at(4))), Some(("me".to_owned(), 3)), "deleted: written anew, counted on");
    // (row, what the Lease says)
    let rows =
        [("another holder", held("other", 4, 0)), ("nobody", held("", 3, 0)), ("taken and given back", held("", 4, 0))];
    for (row, found) in rows {
        let mut candidate = leader(3);
        assert_eq!(candidate.look(Some(found), at(2)), Step::Wait, "row {row}");
        assert_eq!(candidate.standing(SECOND * 2), Standing::Lost, "row {row}");
        assert_eq!(candidate.renewal(at(2)), None, "row {row}");
    }
}

/// The others wait from when they saw a renewal; the leader counts from before it sent it, so it is always the first to stop.
#[test]
fn a_leader_stops_before_others_may_begin() {
    let mut leader = leader(0);
    let renewal = leader.renewal(at(10)).unwrap();
    leader.wrote(renewal.clone(), SECOND * 10);
    let mut other = Candidate::new("other".to_owned(), terms());
    assert_eq!(other.look(Some(renewal.clone()), at(10)), Step::Wait);
    assert_eq!(leader.standing(SECOND * 39), Standing::Leading { epoch: 0 });
    assert_eq!(leader.standing(SECOND * 40), Standing::Lost);
    assert_eq!(other.look(Some(renewal.clone()), at(44)), Step::Wait);
    assert_eq!(written(other.look(Some(renewal), at(45))), Some(("other".to_owned(), 1)));
}

#[test]
fn a_lease_that_was_deleted_while_somebody_watched_counts_on() {
    let mut candidate = me();
    candidate.look(Some(held("other", 6, 0)), at(1));
    assert_eq!(written(candidate.look(None, at(2))), Some(("me".to_owned(), 7)));
}

/// Which epoch one that waits may use to close the port of its own server.
#[test]
fn who_waits_is_behind_when_the_holder_had_its_time() {
    let behind = |epoch| Standing::Behind { holder: "other".to_owned(), epoch };
    // (row, what was seen and when, now, standing)
    let rows = [
        ("nothing known", vec![], 9, Standing::Waiting),
        ("nobody holds it", vec![(0, held("", 5, 0))], 9, Standing::Waiting),
        ("just seen", vec![(0, held("other", 5, 0))], 1, Standing::Waiting),
        ("seen before", vec![(0, held("other", 5, 0)), (2, held("other", 5, 1))], 2, behind(Some(4))),
        ("a new holder", vec![(0, held("a", 4, 0)), (2, held("other", 5, 1))], 3, Standing::Waiting),
        ("the same one, that was away", vec![(0, held("other", 3, 0)), (2, held("other", 5, 1))], 3, Standing::Waiting),
        ("the first holder ever", vec![(0, held("other", 0, 0))], 2, behind(None)),
    ];
    for (row, looks, now, expected) in rows {
        let mut candidate = me();
        for (second, record) in looks {
            // Nobody's Lease would be taken; this is about what is known of others.
            candidate.look(Some(record), at(second));
        }
        assert_eq!(candidate.standing(SECOND * now), expected, "row {row}");
    }
}

#[test]
fn a_lease_is_given_back_as_client_go_does() {
    let now = Moment { clock: SECOND, wall: Timestamp::from_second(77).unwrap() };
    let free = leader(3).release(&held("me", 3, 5), now).unwrap();
    let wall = Some(now.wall);
    assert_eq!(free, Record { holder: String::new(), seconds: 1, transitions: 3, acquired: wall, renewed: wall });
    assert_eq!(leader(3).release(&held("other", 4, 5), now), None, "it is not ours any more");
}

#[test]
fn pauses_and_limits() {
    // (row, who, now, sample, milliseconds)
    let rows = [
        ("§4 who waits", me(), 99, 0.0, 2000),
        ("§4 with jitter", me(), 99, 1.0, 4400),
        ("§4 who leads", leader(0), 28, 1.0, 2000),
        ("shortly before its deadline", leader(0), 29, 1.0, 1000),
        ("after it", leader(0), 31, 1.0, 0),
    ];
    for (row, candidate, now, sample, milliseconds) in rows {
        assert_eq!(candidate.pause(SECOND * now, sample).as_millis(), milliseconds, "row {row}");
    }
    // (row, who, now, seconds)
    let rows = [
        ("who waits", me(), 99, 15),
        ("who leads", leader(0), 2, 15),
        ("shortly before the deadline", leader(0), 28, 2),
        ("after it", leader(0), 31, 0),
    ];
    for (row, candidate, now, seconds) in rows {
        assert_eq!(candidate.limit(SECOND * now).as_secs(), seconds, "row {row}");
    }
}
