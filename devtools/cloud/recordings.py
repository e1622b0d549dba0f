"""Recordings behind their signed links: a second of silence, for as long as the link is valid."""

import hmac
import io
import wave

from aiohttp import web

from devtools.cloud.gateway import Gateway
from devtools.cloud.job_actions import RECORDINGS, sign_recording
from runtime.clock import SystemClock


def silence() -> bytes:
    """Return a WAV file of one silent second."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as recording:
        recording.setnchannels(1)
        recording.setsampwidth(2)
        recording.setframerate(8000)
        recording.writeframes(bytes(16000))
    return buffer.getvalue()


def add_recording_routes(app: web.Application, gateway: Gateway, clock: SystemClock) -> None:
    """Serve the links that DownloadRecording gives: 403 if the signature is wrong or the link expired."""
    wav = silence()

    async def download(request: web.Request) -> web.Response:
        expires = request.query.get("Expires", "")
        if not expires.isdecimal() or int(expires) * 1000 < clock.now_ms():
            raise web.HTTPForbidden(text="Request has expired.")
        expected = sign_recording(request.path, int(expires), gateway.settings.access_key_secret)
        if not hmac.compare_digest(expected.encode(), request.query.get("Signature", "").encode()):
            raise web.HTTPForbidden(text="SignatureDoesNotMatch")
        return web.Response(body=wav, content_type="audio/wav")

    app.router.add_get(RECORDINGS + "/{name}", download)
