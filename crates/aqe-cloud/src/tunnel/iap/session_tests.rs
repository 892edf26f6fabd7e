//! Two ends of a session over transports that break anywhere.

use proptest::prelude::*;

use super::*;

fn open() -> Session {
    let mut session = Session::new(1 << 20);
    assert_eq!(session.take(Frame::Sid("sid".into())), Ok(Bytes::new()));
    session
}

fn data(session: &mut Session) -> Vec<Bytes> {
    let mut sent = Vec::new();
    while let Some(frame) = session.next(false) {
        match frame {
            Frame::Data(data) => sent.push(data),
            other => panic!("{other:?} is no data"),
        }
    }
    sent
}

#[test]
fn nothing_flows_before_the_session_is_there() {
    let mut session = Session::new(100);
    session.accept("abc".into());
    assert_eq!(session.next(true), None);
    assert_eq!(session.take(Frame::Data("x".into())), Err(Violation::Early("data")));
    assert_eq!(session.take(Frame::Ack(0)), Err(Violation::Early("an acknowledgement")));
    assert!(matches!(session.take(Frame::Resumed(0)), Err(Violation::Unexpected(_))));
    assert!(matches!(session.take(Frame::Sid(Bytes::new())), Err(Violation::Unexpected(_))), "a name of nothing");
    session.take(Frame::Sid("sid".into())).expect("the name");
    assert_eq!(session.next(false), Some(Frame::Data("abc".into())));
    assert!(matches!(session.take(Frame::Sid("sid".into())), Err(Violation::Unexpected(_))), "a second name");
}

#[test]
fn an_acknowledgement_neither_goes_back_nor_ahead() {
    let mut session = open();
    session.accept("abcdef".into());
    assert_eq!(
        session.take(Frame::Ack(1)),
        Err(Violation::ExcessiveAck { acknowledged: 1, sent: 0 }),
        "accepted is not sent"
    );
    data(&mut session);
    session.take(Frame::Ack(4)).expect("four of six");
    session.take(Frame::Ack(4)).expect("the same again");
    assert_eq!(session.take(Frame::Ack(3)), Err(Violation::BackwardAck { acknowledged: 3, before: 4 }));
    assert_eq!(session.take(Frame::Ack(7)), Err(Violation::ExcessiveAck { acknowledged: 7, sent: 6 }));
}

#[test]
fn data_is_split_to_what_a_frame_takes_and_bounded_by_the_window() {
    let mut session = Session::new(40_000);
    session.take(Frame::Sid("sid".into())).expect("the name");
    assert_eq!(session.room(), 40_000);
    session.accept(vec![0; 40_000].into());
    assert_eq!(session.room(), 0);
    let lengths: Vec<_> = data(&mut session).iter().map(Bytes::len).collect();
    assert_eq!(lengths, [16_384, 16_384, 7_232]);
    assert!(session.is_sent());
    session.take(Frame::Ack(20_000)).expect("in the middle of a chunk");
    assert_eq!(session.room(), 20_000);
}

#[test]
fn what_was_handed_on_is_acknowledged_after_two_full_frames_or_when_idle() {
    let mut session = open();
    session.take(Frame::Data(vec![0; MAX_DATA].into())).expect("data");
    assert_eq!(session.next(true), None, "nobody has it yet");
    session.deliver(MAX_DATA);
    assert_eq!(session.next(false), None);
    assert_eq!(session.next(true), Some(Frame::Ack(16_384)));
    assert_eq!(session.next(true), None, "once");
    session.take(Frame::Data(vec![0; MAX_DATA].into())).expect("data");
    session.take(Frame::Data(vec![0; MAX_DATA].into())).expect("data");
    session.deliver(MAX_DATA);
    assert_eq!(session.next(false), None);
    session.deliver(MAX_DATA);
    assert_eq!(session.next(false), Some(Frame::Ack(49_152)));
}

#[test]
fn after_a_loss_what_the_relay_has_is_dropped_and_the_rest_sent_again() {
    let mut session = open();
    session.accept((0..40_000u32).map(|n| n.to_le_bytes()[0]).collect::<Vec<_>>().into());
    data(&mut session);
    session.take(Frame::Data("abc".into())).expect("data");
    session.lost();
    assert_eq!(session.next(true), None);
    assert_eq!(session.resumption(), Some((&Bytes::from("sid"), 3)));
    assert!(matches!(session.take(Frame::Sid("new".into())), Err(Violation::Unexpected(_))));
    session.take(Frame::Resumed(20_000)).expect("in the middle of the second chunk");
    let again = data(&mut session).concat();
    assert_eq!(again, (20_000..40_000u32).map(|n| n.to_le_bytes()[0]).collect::<Vec<_>>());
    session.deliver(3);
    assert!(!session.owes_ack(), "the request to resume said it");
}

#[test]
fn a_relay_that_resumes_beyond_what_was_sent_is_not_believed() {
    for (confirmed, expected) in [
        (2, Violation::BackwardAck { acknowledged: 2, before: 3 }),
        (7, Violation::ExcessiveAck { acknowledged: 7, sent: 6 }),
    ] {
        let mut session = open();
        session.accept("abcdef".into());
        data(&mut session);
        session.take(Frame::Ack(3)).expect("half");
        session.lost();
        assert_eq!(session.take(Frame::Resumed(confirmed)), Err(expected));
    }
}

#[test]
fn without_a_name_a_loss_begins_anew() {
    let mut session = Session::new(100);
    session.lost();
    assert_eq!(session.resumption(), None);
    session.take(Frame::Sid("sid".into())).expect("a name");
}

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    Accept(usize),
    /// So many frames get through to the relay, which acknowledges or not.
    Deliver {
        frames: usize,
        acknowledge: bool,
    },
    /// So many frames are on their way when the transport breaks.
    Lose {
        frames: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0usize..50_000).prop_map(Step::Accept),
        (0usize..6, any::<bool>()).prop_map(|(frames, acknowledge)| Step::Deliver { frames, acknowledge }),
        (0usize..6).prop_map(|frames| Step::Lose { frames }),
    ];
    proptest::collection::vec(step, 0..40)
}

proptest! {
    #[test]
    fn every_byte_arrives_once_and_in_order_wherever_transports_break(steps in steps(), half in 0usize..MAX_DATA) {
        let mut session = Session::new(200_000);
        session.take(Frame::Sid("sid".into())).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let (mut given, mut arrived) = (Vec::<u8>::new(), Vec::<u8>::new());
        let fail = |violation: Violation| TestCaseError::fail(violation.to_string());
        for step in steps {
            match step {
                Step::Accept(length) => {
                    let length = length.min(session.room());
                    let bytes: Vec<u8> = (given.len()..given.len() + length).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
                    given.extend(&bytes);
                    session.accept(bytes.into());
                }
                Step::Deliver { frames, acknowledge } => {
                    for _ in 0..frames {
                        if let Some(Frame::Data(data)) = session.next(false) {
                            arrived.extend(&data);
                        }
                    }
                    if acknowledge {
                        session.take(Frame::Ack(arrived.len() as u64)).map_err(fail)?;
                    }
                }
                Step::Lose { frames } => {
                    for number in 0..frames {
                        // The last one that arrives does so in part.
                        if let (Some(Frame::Data(data)), true) = (session.next(false), number * 2 < frames) {
                            arrived.extend(&data[..if number * 2 + 2 >= frames { half.min(data.len()) } else { data.len() }]);
                            if number * 2 + 2 >= frames { break; }
                        }
                    }
                    session.lost();
                    session.take(Frame::Resumed(arrived.len() as u64)).map_err(fail)?;
                }
            }
            prop_assert!(session.room() <= 200_000);
        }
        while let Some(Frame::Data(data)) = session.next(false) {
            arrived.extend(&data);
        }
        prop_assert!(arrived == given, "{} of {} bytes", arrived.len(), given.len());
    }
}
