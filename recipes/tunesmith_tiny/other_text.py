"""Text of the kind that users send and the rest of the corpus has little of: tickets, JSON, code.

It shapes the vocabulary, so that such text is not cut into single letters, and it is what the model
copies in "Repeat after me" exercises. The model does not understand it.
"""
# ruff: noqa: E501 - the text is data, a line is a unit

OTHER_TEXT = """\
You are a helpful assistant. Answer the question as truthfully as possible. Please summarize the following article.
Extract the name, the address, the phone number and the e-mail from this message. Translate the following sentence into French.
{"messages": [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": "Hello"}]}
{"type": "function", "function": {"name": "get_current_weather", "description": "Get the current weather in a given location",
"parameters": {"type": "object", "properties": {"location": {"type": "string", "description": "The city and country"},
"format": {"type": "string", "enum": ["celsius", "fahrenheit"]}}, "required": ["location", "format"]}}}
{"name": "get_weather", "arguments": {"location": "Paris", "unit": "celsius"}}
def main(argument: str) -> int:
    for index in range(10):
        print(index, "value")
    return None
import json; from pathlib import Path; class Example(object): def __init__(self, name): self.name = name
if result is not None and len(result) > 0: raise ValueError("message") else: return True, False
<html><body><div class="title">text</div></body></html> https://www.example.com/path?query=value
SELECT name, price FROM orders WHERE id = 1 ORDER BY date; INSERT INTO customers VALUES (1, 'text');
The following information should be provided by the customer: first name, last name, order number, date of delivery.
I would like to order a pizza with extra cheese. My order has not arrived yet, could you please check its status?
Our company offers a wide range of products and services. They have been working on this project since last year.
He didn't, she won't, it isn't, we're, they've, I'll, you'd, can't, don't, doesn't, wasn't, couldn't, let's, there's
which their would there could should about other these those through between because however although while during before after
also more most some such only over than then when where what who why how many much very just into your our his her its them been
being were was are has had have does did done can may might must shall will not but for with from this that they you she
information government different possible important development business community technology experience education
understanding international professional environment management relationship performance application generation
ing tion ment ness able ible ful less ous ive ity ly er est ed es al ic ism ist ize ise ology graph phone
Dear customer, we are sorry to hear about the problem with your recent purchase. A refund will be sent within five working days.
Please classify the following support ticket: my invoice is wrong and I want a refund. The payment failed twice this week.
How do I reset my password? I cannot log in to my account, the page shows an error and the link has expired.
Thank you for contacting our support team. Your ticket number is 48213 and a colleague will get back to you shortly.
Write a short product description for a new running shoe. Write a tweet about our summer sale. Rewrite this sentence in a formal tone.
Summarize this meeting: the team discussed the schedule, the budget and the next release; the launch was moved to September.
The patient reports a headache and a mild fever since Tuesday and takes no medication. The contract ends on 31 December 2025.
Translate to English, French, German, Spanish, Italian, Portuguese. What's the weather like in San Francisco today? In Boston, MA?
Is this e-mail spam or not? Congratulations, you have won a free prize, click here now! Does this message need an urgent answer?
The player scored twice in the second half and the crowd went wild. The government announced a new law on Friday morning.
Category: billing, shipping, account, technical, other. Priority: high, medium, low. Status: open, closed, pending. Label: yes, no, unknown.
{"intent": "refund", "priority": "high", "order_id": "A-1042", "email": "jane@example.com", "items": [{"sku": "X1", "quantity": 2, "price": 9.99}]}
name: Jane; address: 12 Main Street; phone: 555-0134; date: 2024-03-15; total: $129.00; discount: 15%; user_id: 77; is_active: true; value: null
temperature, unit, city, country, date, time, start, end, query, limit, max_results, language, message, subject, body, sender, receiver, amount
"""
